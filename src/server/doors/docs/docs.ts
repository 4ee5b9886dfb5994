/**
 * The OpenAPI document, and the page that shows it. Both are files of the
 * package. They are read at the first request and kept, because they never change
 * while the server runs.
 */
import { readPackageFile } from "../../../package/files.ts";
import { docsPage } from "./docs-page.ts";
import type { Page } from "./page.ts";

/** Answers `GET /openapi.json`: its `servers` has the path under which the server answers. */
export function openapi(basePath: string): Page {
  const body = openapiText();
  return {
    body: basePath === "" ? body : withServer(body, basePath),
    headers: {
      "content-type": "application/json",
      "cache-control": "no-cache",
    },
  };
}

function withServer(body: string, basePath: string): string {
  const document = JSON.parse(body) as object;
  const url = `${basePath}/`;
  const servers = [{ url, description: "Where this document came from" }];
  return JSON.stringify({ ...document, servers });
}

function openapiText(): string {
  documentText ??= read(
    "openapi.json",
    ["./openapi.json", "../openapi.json"],
    "contract/openapi.json",
  );
  return documentText;
}
let documentText: string | undefined;

/** Answers `GET /docs`. */
export function docs(): Page {
  htmlPage ??= docsPage(openapiText(), {
    script: asset("swagger-ui-bundle.js"),
    style: asset("swagger-ui.css"),
  });
  return htmlPage;
}
let htmlPage: Page | undefined;

function asset(name: string): string {
  return read(
    `docs/${name}`,
    [`./docs/${name}`, `../docs/${name}`],
    `node_modules/swagger-ui-dist/${name}`,
  );
}

/** Reads a file: in a built package it is beside the code; in the source tree it is at `source`. */
function read(name: string, built: readonly string[], source: string): string {
  const text = readPackageFile({
    asset: name,
    paths: [...built, `../../${source}`],
  });
  if (text === undefined) throw new Error(`${source} is not in this package`);
  return text;
}
