/** Pages for people and their browsers, and the OpenAPI document. */
import type { IncomingMessage } from "node:http";
import { failure } from "../../../../contract/index.ts";
import type { BasePath } from "../../base-path.ts";
import type { Door } from "../../door.ts";
import { send } from "../../respond.ts";
import { docs, openapi } from "./docs.ts";
import { tokenPage } from "./token-page.ts";

export function pagesDoor({ path: basePath }: BasePath): Door {
  return {
    methodsAt: (path) =>
      ["/", "/docs", "/openapi.json"].includes(path) ? ["GET", "HEAD"] : [],

    handle({ req, res, url: { pathname: path } }) {
      if (path === "/" && !wantsPage(req)) throw failure("not_found", { path });
      const page = path === "/openapi.json" ? openapi(basePath) : docs();
      send(res, { status: 200, ...page });
    },

    /** A browser without a token gets the page that asks for it. */
    encodeFailure(failed, { req, url }) {
      const asksForToken =
        failed.reason === "unauthorized" &&
        url.pathname !== "/openapi.json" &&
        wantsPage(req);
      return asksForToken ? { status: 401, ...tokenPage() } : failed;
    },
  };
}

/** Whether a person's browser sends the request. */
function wantsPage({ headers: { accept = "" } }: IncomingMessage): boolean {
  return accept.includes("text/html");
}
