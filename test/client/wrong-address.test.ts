/** An address that cannot be right is reported at once, with the reason, and not only after the timeout. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import {
  connect,
  ConnectionError,
  createClient,
  SupervisorError,
} from "../../client/index.ts";
import { needs } from "../needs.ts";
import { open, urlOf } from "./harness.ts";

/** Much longer than any test here: a test that waits for it exceeds the test's own timeout. */
const timeout_ms = 600_000;

let opened: Awaited<ReturnType<typeof open>>;
let url: string;
let token: string | undefined;
beforeAll(async () => {
  opened = await open();
  url = urlOf(opened.server);
  ({ token } = opened.server);
});
afterAll(() => opened[Symbol.asyncDispose]());
afterEach(() => vi.unstubAllGlobals());

async function listening(server: Pick<Server, "listen" | "once" | "address">) {
  server.listen(0, "127.0.0.1");
  await once(server as Server, "listening");
  return (server.address() as AddressInfo).port;
}

async function another(answer: RequestListener) {
  const server = createServer(answer);
  const port = await listening(server);
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

it.each(["ftp://127.0.0.1:8888", "localhost:8888", "file:///x", "8888", ""])(
  "%j is not an address",
  async (wrong) => {
    await expect(connect({ url: wrong })).rejects.toThrow(TypeError);
    await expect(connect({ url: wrong })).rejects.toThrow("not an address");
  },
);

it("a path without the server", async () => {
  const wrong = connect({ url: `${url}/jupyter`, token, timeout_ms });
  await expect(wrong).rejects.toThrow(ConnectionError);
  await expect(wrong).rejects.toThrow("not at this path");
});

it("https for a server that speaks plain HTTP", async () => {
  const wrong = url.replace("http:", "https:");
  const failed = connect({ url: wrong, token, timeout_ms });
  await expect(failed).rejects.toThrow("use http://");
});

it.each<readonly [string, RequestListener]>([
  ["a web server", (_, res) => res.end("<html>welcome</html>")],
  ["a server that answers 404", (_, res) => res.writeHead(404).end()],
  ["another API", (_, res) => res.end('{"ok":true}')],
])("%s that is not a kallichore server", async (_, answer) => {
  await using server = await another(answer);
  const failed = connect({ url: server.url, timeout_ms });
  await expect(failed).rejects.toThrow(ConnectionError);
  await expect(failed).rejects.toThrow("is not a kallichore server");
  // A client that connects at its first use gets the error there.
  const lazy = createClient({ url: server.url });
  await expect(lazy.session("s").execute("1")).rejects.toThrow(
    "is not a kallichore server",
  );
});

it("a proxy whose server is not up yet is awaited", async () => {
  await using server = await another((_, res) => res.writeHead(502).end());
  const failed = connect({ url: server.url, timeout_ms: 500 });
  await expect(failed).rejects.toThrow("within 0.5 s");
});

const hasOpenssl = (() => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

it(
  "http for a server that speaks TLS, and a certificate that is not trusted",
  needs(hasOpenssl, "openssl, to make a certificate"),
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "certificate-"));
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const subject = ["-subj", "/CN=localhost", "-days", "1", "-nodes"];
    const files = ["-keyout", key, "-out", cert];
    execFileSync(
      "openssl",
      ["req", "-x509", "-newkey", "rsa:2048", ...subject, ...files],
      { stdio: "ignore" },
    );
    const pems = { key: readFileSync(key), cert: readFileSync(cert) };
    rmSync(folder, { recursive: true });
    const server = createTlsServer(pems, (_, res) => res.end("secret"));
    const port = await listening(server);
    const plain = connect({ url: `http://127.0.0.1:${port}`, timeout_ms });
    await expect(plain).rejects.toThrow("use https://");
    const secure = connect({ url: `https://127.0.0.1:${port}`, timeout_ms });
    await expect(secure).rejects.toThrow("not trusted");
    server.closeAllConnections();
    server.close();
  },
);

it("a page of an origin that the server does not admit", async () => {
  class Refused {
    readyState = 0;
    onerror: ((error: object) => void) | undefined;
    constructor() {
      setTimeout(() => this.onerror?.({}));
    }
    send() {}
    close() {}
  }
  vi.stubGlobal("location", { origin: "https://page.example" });
  // As in a browser: a request whose answer the page may not read fails, and an opaque answer shows only that there is an answer.
  const real = globalThis.fetch;
  const fetch: typeof real = (input, init) =>
    init?.mode === "no-cors"
      ? real(input)
      : Promise.reject(new TypeError("Failed to fetch"));
  vi.stubGlobal("fetch", fetch);
  const failed = connect({
    url,
    token,
    timeout_ms,
    WebSocket: Refused as never,
  });
  await expect(failed).rejects.toThrow(SupervisorError);
  await expect(failed).rejects.toThrow("--allow-origin https://page.example");
});
