/**
 * The page for a browser without a token: it asks the person for it. The page is
 * the same for everybody. The token stays in the tab's session storage, and is
 * sent only to this server.
 */
import { type Page, pageOf } from "./page.ts";

/** The key of the token in the tab's session storage. */
export const TOKEN_KEY = "kallichore-token";

export function tokenPage(): Page {
  page ??= pageOf({ styles: [STYLE], body: BODY, scripts: [SCRIPT] });
  return page;
}
let page: Page | undefined;

const BODY = `<main>
<h1>Kallichore</h1>
<p>This server needs its token. It was printed where the server was started:</p>
<form id="form">
<label for="token">Token</label>
<input id="token" type="password" autocomplete="off" spellcheck="false" autofocus required>
<button>Continue</button>
</form>
<p id="message" role="alert"></p>
<noscript><p>Without scripts, add <code>?token=…</code> to the address.</p></noscript>
</main>`;

const STYLE = `
body { margin: 0; font: 16px/1.5 sans-serif; color: #3b4151; background: #fafafa; }
main { max-width: 26em; margin: 15vh auto 0; padding: 0 1em; }
h1 { font-size: 1.5em; margin: 0 0 .5em; }
form { display: flex; flex-wrap: wrap; gap: .5em; align-items: center; }
label { flex-basis: 100%; font-weight: bold; }
input { flex: 1; min-width: 10em; padding: .5em; font: inherit; border: 1px solid #888; border-radius: 4px; }
button { padding: .5em 1em; font: inherit; border: 0; border-radius: 4px; color: #fff; background: #3b4151; cursor: pointer; }
#message { min-height: 1.5em; color: #b00020; }
@media (prefers-color-scheme: dark) {
  :root { color-scheme: dark; }
  body { color: #e4e6e6; background: #1c2022; }
  button { color: #1c2022; background: #b7bcbf; }
  #message { color: #ff8a80; }
}
`;

/** The page tries the token first. It reports a wrong token, and does not keep it. */
const SCRIPT = `
"use strict";
{
  const KEY = ${JSON.stringify(TOKEN_KEY)};
  const field = document.getElementById("token");
  const message = document.getElementById("message");
  const base = location.pathname.replace(/\\/(docs)?$/, "");
  const enter = async (token) => {
    const answer = await fetch(base + "/sessions", {
      method: "HEAD",
      headers: { authorization: "Bearer " + token },
    });
    if (answer.status === 401) {
      sessionStorage.removeItem(KEY);
      return "That is not the token of this server.";
    }
    if (!answer.ok) return "The server answered " + answer.status + ".";
    sessionStorage.setItem(KEY, token);
    location.replace(base + "/docs?token=" + encodeURIComponent(token));
    return "";
  };
  const tried = (token) =>
    enter(token).catch(() => "The server does not answer.").then((text) => {
      message.textContent = text;
    });
  document.getElementById("form").addEventListener("submit", (event) => {
    event.preventDefault();
    void tried(field.value.trim());
  });
  const kept = sessionStorage.getItem(KEY);
  if (kept !== null) void tried(kept);
}
`;
