/** `fetch` through a Unix socket or a Windows pipe. It supports the parts of `fetch` that the client needs: text bodies, headers, an abort signal. */
import { nodeModule } from "./node.ts";

export type Fetch = (
  url: string | URL | Request,
  init?: RequestInit,
) => Promise<Response>;

export function socketFetch(socketPath: string): Fetch {
  return (input, init = {}) =>
    new Promise((resolve, reject) => {
      const { request } = nodeModule("node:http");
      const { method, body, signal } = init;
      const { pathname, search } = new URL(
        input instanceof Request ? input.url : input,
      );
      const outgoing = request(
        {
          socketPath,
          path: pathname + search,
          method: method ?? "GET",
          headers: Object.fromEntries(new Headers(init.headers)),
          ...(signal && { signal }),
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () => {
            const status = response.statusCode ?? 502;
            const empty = status === 204 || status === 304;
            resolve(
              new Response(empty ? null : Buffer.concat(chunks), {
                status,
                headers: headersOf(response.headers),
              }),
            );
          });
        },
      );
      outgoing.on("error", reject);
      outgoing.end(typeof body === "string" ? body : undefined);
    });
}

function headersOf(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((one): [string, string] => [name, one]),
  );
}
