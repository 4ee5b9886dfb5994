/** Describes a running server: in its record, for the other commands, and in a text for the person who started it. */
import type { RunningServer } from "../serve.ts";
import { VERSION } from "../package/version.ts";
import { startTimeOf } from "../host/process-table.ts";
import type { ServerRecord } from "./record.ts";
import type { OutputStream } from "./terminal.ts";

export function recordOf(server: RunningServer): ServerRecord {
  const start_time = startTimeOf(process.pid);
  const { address, supervisor, basePath } = server;
  const url = server.url === undefined ? undefined : reachable(server.url);
  const token = server.token ?? null;
  return {
    pid: process.pid,
    ...(start_time !== undefined && { start_time }),
    ...(url !== undefined && { url, docs: `${url}/docs${query(token)}` }),
    ...(address.transport === "socket" && { socket: address.path }),
    ...(address.transport === "named-pipe" && { socket: address.name }),
    ...(basePath !== "" && { base_url: basePath }),
    token,
    server_id: supervisor.server_id,
    started: supervisor.started.toISOString(),
    version: VERSION,
  };
}

/** Prints the server's address, the address of its documentation, and how to try it. */
export async function greet(
  record: ServerRecord,
  out: OutputStream,
  { isKept = false } = {},
): Promise<void> {
  const { bold, cyan, dim } = out.colors;
  const { url, socket, token, base_url = "" } = record;
  const name = url ?? socket ?? "";
  const header = token === null ? "" : `-H 'Authorization: Bearer ${token}' `;
  const secret = token === null ? "" : `, token: "${token}"`;
  const [curl, options] =
    url === undefined
      ? [
          `curl --unix-socket '${name}' ${header}http://localhost${base_url}/kernelspecs`,
          `{ socketPath: "${name}"${base_url === "" ? "" : `, basePath: "${base_url}"`}${secret} }`,
        ]
      : [`curl ${header}${url}/kernelspecs`, `{ url: "${url}"${secret} }`];
  const lines = [
    `${bold("kallichore")} ${VERSION} listens on ${cyan(name)}  ${dim(`(process ${record.pid}; Ctrl-C ends ${isKept ? "the server alone" : "it"})`)}`,
    ...(isKept
      ? [
          "",
          "  Ctrl-C leaves the kernels running, and 'kallichore serve --keep' goes on with them.",
          "  'kallichore stop --all' ends the kernels too.",
        ]
      : []),
    "",
    ...(url === undefined ? [] : [`  Docs        ${url}/docs${query(token)}`]),
    `  Try it      kallichore exec 'print(6 * 7)'`,
    `  curl        ${curl}`,
    `  TypeScript  import { connect } from "kallichore/client";`,
    `              const client = await connect(${options});`,
    "",
  ];
  await out.line(lines.join("\n"));
}

function query(token: string | null): string {
  return token === null ? "" : `?token=${encodeURIComponent(token)}`;
}

/** A server that listens on all addresses is reached on loopback. */
function reachable(url: string): string {
  return url
    .replace("//0.0.0.0:", "//127.0.0.1:")
    .replace("//[::]:", "//[::1]:");
}
