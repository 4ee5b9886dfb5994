/** `fetch` through a Unix socket or a Windows pipe, as much of it as tRPC's HTTP link needs: text both ways, headers, an abort. */
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
      const asked = request(
        {
          socketPath,
          path: pathname + search,
          method: method ?? "GET",
          headers: Object.fromEntries(new Headers(init.headers)),
          ...(signal && { signal }),
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk));
          answer.on("error", reject);
          answer.on("end", () => {
            const status = answer.statusCode ?? 502;
            const empty = status === 204 || status === 304;
            resolve(
              new Response(empty ? null : Buffer.concat(chunks), {
                status,
                headers: headersOf(answer.headers),
              }),
            );
          });
        },
      );
      asked.on("error", reject);
      asked.end(typeof body === "string" ? body : undefined);
    });
}

function headersOf(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((one): [string, string] => [name, one]),
  );
}
