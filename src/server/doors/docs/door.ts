/** Pages for people and their browsers, and the OpenAPI document. */
import type { IncomingMessage } from "node:http";
import { failure } from "../../../../contract/index.ts";
import type { BasePath } from "../../base-path.ts";
import type { Door } from "../../door.ts";
import { send } from "../../respond.ts";
import { docs, openapi } from "./docs.ts";
import { tokenPage } from "./token-page.ts";

/** Addresses of the OpenAPI document: ours, Jupyter Server's and Kernel Gateway's. JSON is YAML too. */
const DOCUMENT = [
  "/openapi.json",
  "/api/spec.yaml",
  "/api/swagger.json",
  "/api/swagger.yaml",
  "/_api/spec/swagger.json",
];

export function pagesDoor({ path: basePath }: BasePath): Door {
  return {
    methodsAt: (path) =>
      ["/", "/docs", ...DOCUMENT].includes(path) ? ["GET", "HEAD"] : [],

    handle({ req, res, url: { pathname: path } }) {
      if (path === "/" && !wantsPage(req)) throw failure("not_found", { path });
      const page = DOCUMENT.includes(path) ? openapi(basePath) : docs();
      send(res, { status: 200, ...page });
    },

    /** A browser without a token gets the page that asks for it. */
    encodeFailure(failed, { req, url }) {
      const asksForToken =
        failed.reason === "unauthorized" &&
        !DOCUMENT.includes(url.pathname) &&
        wantsPage(req);
      return asksForToken ? { status: 401, ...tokenPage() } : failed;
    },
  };
}

/** Whether a person's browser sends the request. */
function wantsPage({ headers: { accept = "" } }: IncomingMessage): boolean {
  return accept.includes("text/html");
}
