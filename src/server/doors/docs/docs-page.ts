/**
 * An HTML page that shows an OpenAPI document and tries it out. It contains Swagger
 * UI, its style and the document, so it works without a network and sends requests
 * only to this server.
 *
 * The token is in the page's address when the page opens, and the page removes it
 * from there at once. It stays in the page's memory and in the tab's session
 * storage, so that the page can be loaded again.
 */
import { type Page, pageOf } from "./page.ts";
import { TOKEN_KEY } from "./token-page.ts";

/** Swagger UI, as text. */
export interface Assets {
  readonly script: string;
  readonly style: string;
}

/** `document` is JSON. */
export function docsPage(document: string, { script, style }: Assets): Page {
  return pageOf({
    styles: [escapeStyle(style), STYLE],
    body: `${INTRODUCTION}
<main id="api"></main>
<script type="application/json" id="document">${escapeJson(document)}</script>`,
    scripts: [escapeScript(script), START],
  });
}

/** The page's own script: takes the token, clears the address, shows the document. */
const START = `
"use strict";
{
  const here = new URL(location.href);
  const token =
    here.searchParams.get("token") ??
    new URLSearchParams(here.hash.slice(1)).get("token");
  if (token !== null) {
    history.replaceState(null, "", here.pathname);
    sessionStorage.setItem(${JSON.stringify(TOKEN_KEY)}, token);
  }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches); // Swagger UI's name
  dark.addEventListener("change", paint);
  paint();
  const base = here.origin + here.pathname.replace(/\\/(docs)?$/, ""); // the server may be mounted under a path
  for (const element of document.querySelectorAll("[data-origin]")) {
    element.textContent = base.replace(/^http/, element.dataset.origin);
  }
  const ui = SwaggerUIBundle({
    spec: { ...JSON.parse(document.getElementById("document").textContent), servers: [{ url: base }] },
    dom_id: "#api",
    deepLinking: false,
    docExpansion: "list",
    displayRequestDuration: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    onComplete: () => {
      if (token !== null) ui.preauthorizeApiKey("token", token);
    },
  });
}
`;

const STYLE = `
body { margin: 0; }
.doors {
  max-width: 1420px; margin: 0 auto; padding: 20px 20px 0;
  box-sizing: border-box; font: 14px/1.5 sans-serif; color: #3b4151;
}
.doors pre {
  padding: 10px; overflow-x: auto; border-radius: 4px;
  background: #f3f4f6; font: 12px/1.5 monospace;
}
html.dark-mode .doors { color: #e4e6e6; }
html.dark-mode .doors pre { background: #080a0b; }
`;

/** The protocols that the forms below cannot try. */
const INTRODUCTION = `<details class="doors">
<summary>From a terminal, over the WebSocket, over tRPC</summary>
<p>You can try REST below, or with any client. The stream of events does not end, so use a program that prints while it reads:</p>
<pre>curl -H "Authorization: Bearer $TOKEN" <span data-origin="http"></span>/sessions
curl -N -H "Authorization: Bearer $TOKEN" <span data-origin="http"></span>/sessions/a/events</pre>
<p>The channels of a started session are a WebSocket, in any browser and in Node 22 and later:</p>
<pre>const socket = new WebSocket(\`<span data-origin="ws"></span>/sessions/a/channels?token=\${token}\`);
socket.onmessage = ({ data }) =&gt; console.log(data);
socket.onopen = () =&gt; socket.send(JSON.stringify({
  channel: "shell",
  header: { msg_id: crypto.randomUUID(), msg_type: "execute_request" },
  parent_header: null,
  metadata: {},
  content: { code: "6 * 7", silent: false, store_history: true, user_expressions: {}, allow_stdin: false, stop_on_error: true },
  buffers: [],
}));</pre>
<p>tRPC has the same operations, with full types. Their names are beside them below, as <code>x-trpc-procedure</code>:</p>
<pre>import { createTRPCClient, httpBatchLink } from "@trpc/client";
import type { AppRouter } from "kallichore/contract";

const client = createTRPCClient&lt;AppRouter&gt;({
  links: [httpBatchLink({
    url: "<span data-origin="http"></span>/trpc",
    headers: { authorization: \`Bearer \${token}\` },
  })],
});
const { sessions } = await client.sessions.list.query();</pre>
</details>`;

/** Escapes what ends a script for the HTML parser; in a string or a regular expression the escape means the same. */
function escapeScript(text: string): string {
  return normalizeLines(text).replace(/<(?=!--|\/?script)/gi, "\\x3c");
}

function escapeStyle(text: string): string {
  return normalizeLines(text).replace(/<(?=\/style)/gi, "\\3c ");
}

/** In JSON, `<` occurs only in strings. */
function escapeJson(json: string): string {
  return json.replaceAll("<", "\\u003c");
}

/** Normalizes line ends as the HTML parser does before the digest is taken, and removes the address of a source map. */
function normalizeLines(text: string): string {
  return text
    .replace(/\r\n?/g, "\n")
    .replace(/^\/[/*]# sourceMappingURL=.*$/gm, "");
}
