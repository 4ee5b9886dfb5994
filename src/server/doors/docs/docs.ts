/**
 * The OpenAPI document, and the page that shows it. Both are files of the
 * package, read when they are first asked for and kept: they never change while
 * we run.
 */
import { readPackageFile } from "../../../package/files.ts";
import { docsPage } from "./docs-page.ts";
import type { Page } from "./page.ts";

/** Answers `GET /openapi.json`. */
export function openapi(): Page {
  documentPage ??= {
    body: read(
      "openapi.json",
      ["./openapi.json", "../openapi.json"],
      "contract/openapi.json",
    ),
    headers: {
      "content-type": "application/json",
      "cache-control": "no-cache",
    },
  };
  return documentPage;
}
let documentPage: Page | undefined;

/** Answers `GET /docs`. */
export function docs(): Page {
  htmlPage ??= docsPage(openapi().body, {
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

/** In a built package the file lies beside the code; in the source tree, where the build takes it from. */
function read(name: string, built: readonly string[], source: string): string {
  const text = readPackageFile({
    asset: name,
    places: [...built, `../../${source}`],
  });
  if (text === undefined) throw new Error(`${source} is not in this package`);
  return text;
}
