/** Pairs of functions that invert each other, and the content of bundles for browsers. */
import { webcrypto } from "node:crypto";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { fromBase64, toBase64 } from "../../client/base64.ts";
import { toCodePoints, toIndex } from "../../client/cursor.ts";
import { toEvent } from "../../client/events.ts";
import { uuid } from "../../client/uuid.ts";
import { forPages } from "../../scripts/pages.ts";

describe("base64", () => {
  it("equals the base64 of Node", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70_000 }), (bytes) => {
        expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
      }),
      { numRuns: 50 },
    );
  });

  it("decodes to the same bytes, and only to those of a view", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.nat(20), (bytes, start) => {
        const view = bytes.subarray(Math.min(start, bytes.length));
        expect(fromBase64(toBase64(view))).toEqual(new Uint8Array(view));
      }),
    );
  });

  it("is right across the steps in which it is encoded", () => {
    const bytes = new Uint8Array(100_001).map((_, at) => at * 7);
    expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
  });
});

it("a cursor between two characters converts to code points and back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat(), (code, at) => {
      const points = Array.from(code);
      const before = points.slice(0, at % (points.length + 1));
      const index = before.join("").length;
      expect(toCodePoints(code, index)).toBe(before.length);
      expect(toIndex(code, before.length)).toBe(index);
    }),
  );
  expect(toIndex("ab", 9)).toBe(2);
});

it("an id is a UUID, also in a page without randomUUID", () => {
  const pattern =
    /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  expect(uuid()).toMatch(pattern);
  vi.stubGlobal("crypto", {
    getRandomValues: (bytes: Uint8Array) => webcrypto.getRandomValues(bytes),
  });
  try {
    expect(uuid()).toMatch(pattern);
  } finally {
    vi.unstubAllGlobals();
  }
});

describe("a message", () => {
  const message = {
    kind: "jupyter",
    seq: 1,
    channel: "iopub",
    header: { msg_id: "1", msg_type: "stream" },
    parent_header: null,
    metadata: {},
    content: { name: "stdout", text: "a", extra: 1 },
    buffers: ["AQI="],
  } as const;

  it("of a known type has that type, with all its members", () => {
    expect(toEvent({ ...message, buffers: [...message.buffers] }, 0)).toEqual({
      ...message,
      msg_type: "stream",
      buffers: [new Uint8Array([1, 2])],
    });
  });

  it("of an unknown type, or with content that is not valid for its type, has the kind other", () => {
    const header = { msg_id: "1", msg_type: "toString" };
    expect(toEvent({ ...message, header, buffers: [] }, 0).kind).toBe("other");
    const content = { name: "stdout" };
    expect(toEvent({ ...message, content, buffers: [] }, 0).kind).toBe("other");
  });
});

it("a bundle for browsers contains no code of the server, and no import of Node", async () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ["client/index.ts"],
    bundle: true,
    platform: "browser",
    format: "esm",
    splitting: true,
    outdir: "unwritten",
    minify: true,
    write: false,
    metafile: true,
    plugins: [forPages],
  });
  const parts = Object.keys(metafile.inputs);
  expect(parts.filter((path) => /^(src|kernels)\//.test(path))).toEqual([]);
  const code = outputFiles.map(({ text }) => text).join("");
  expect(code).not.toMatch(/from ?"node:|import\("node:/);
  // The checks are generated from the contract, and the client has its own tRPC calls.
  expect(parts.filter((path) => path.includes("node_modules"))).toEqual([]);
  expect(gzipSync(code, { level: 9 }).length).toBeLessThan(18 * 1024);
});
