/** The OpenAPI document and the page that shows it. */
import { readFileSync } from "node:fs";

export function openapi() {
  return {
    body: readFileSync(
      new URL("../../contract/openapi.json", import.meta.url),
      "utf8",
    ),
    headers: { "content-type": "application/json" },
  };
}

export function docs() {
  return { body: "", headers: { "content-type": "text/html" } };
}
