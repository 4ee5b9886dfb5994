import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { docs, openapi } from "../../src/server/doors/docs/docs.ts";
import { docsPage } from "../../src/server/doors/docs/docs-page.ts";
import { document } from "../contract/document.ts";

describe("the page of the API", () => {
  const { body, headers } = docs();
  const policy = headers["content-security-policy"] ?? "";

  it("contains every script and style, and permits no other", () => {
    const inside = [...textsOf("script", body), ...textsOf("style", body)];
    expect(inside).toHaveLength(4);
    const allowed = [...policy.matchAll(/'(sha256-[^']+)'/g)].map(
      ([, digest]) => digest,
    );
    expect(allowed).toEqual(inside.map(digestOf));
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain("unsafe");
  });

  it("sends requests only to this server", () => {
    const markup = body
      .replace(/<script[^]*?<\/script>/g, "")
      .replace(/<style[^]*?<\/style>/g, "");
    expect(markup).not.toMatch(/\b(?:src|srcset|action)=/);
    expect([...markup.matchAll(/href="([^"]*)"/g)].map(([, to]) => to)).toEqual(
      ["data:,"],
    );
    expect(policy).toContain("connect-src 'self'");
  });

  it("shows the document that is served", () => {
    expect(JSON.parse(openapi("").body)).toEqual(document);
    expect(JSON.parse(dataOf(body))).toEqual(document);
  });

  it("sends its address, which had a token in it, to no other site", () => {
    expect(headers["referrer-policy"]).toBe("no-referrer");
    expect(headers["cache-control"]).toBe("no-store");
  });
});

describe("a page of any document", () => {
  it("contains it completely, with any content", () => {
    const texts = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom(
        "</script>",
        "<!--<script>",
        "<script>",
        "]]>",
        "$&",
        "\u2028",
      ),
    );
    fc.assert(
      fc.property(fc.array(texts), (written) => {
        const json = JSON.stringify(written);
        const page = docsPage(json, { script: "", style: "" }).body;
        expect(JSON.parse(dataOf(page))).toEqual(written);
      }),
    );
  });
});

/** The content of elements without attributes: data is not a script. */
function textsOf(element: string, html: string): string[] {
  const found = html.matchAll(
    new RegExp(`<${element}>([^]*?)</${element}>`, "g"),
  );
  return [...found].map(([, text = ""]) => text);
}

function dataOf(html: string): string {
  const data =
    /<script type="application\/json" id="document">([^]*?)<\/script>/;
  return data.exec(html)?.[1] ?? "";
}

function digestOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
