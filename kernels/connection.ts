/**
 * The connection file that a kernel reads at its start: the ports to bind, or
 * the address to which it reports its own ports.
 *
 * The file has one of three forms: a connection file with five ports, a
 * registration file (JEP 66) in one of two dialects, or a connection file with
 * zeros, which the kernel rewrites with the ports that it has bound.
 */
import { readFile } from "node:fs/promises";

export const portNames = [
  "shell_port",
  "iopub_port",
  "stdin_port",
  "control_port",
  "hb_port",
] as const;

/** Zero means any free port. */
export type Ports = Readonly<Record<(typeof portNames)[number], number>>;

export interface ConnectionInfo extends Ports {
  readonly transport: string;
  readonly ip: string;
  readonly key: string;
  readonly signature_scheme: string;
}

/**
 * `posit` sends a whole `handshake_request` from a REQ socket; `spec` sends one
 * signed frame from a DEALER socket, with its `kernel_id` and its ports as
 * strings.
 */
export type Dialect = "posit" | "spec";

export interface Registration {
  readonly dialect: Dialect;
  readonly endpoint: string;
  readonly kernel_id: string;
}

export interface Instructions {
  readonly connection: ConnectionInfo;
  /** Absent if the launcher has chosen the ports, or reads them from the file. */
  readonly registration?: Registration;
}

export async function readInstructions(file: string): Promise<Instructions> {
  const parsed: unknown = JSON.parse(await readFile(file, "utf8"));
  if (typeof parsed !== "object" || parsed === null) {
    throw new TypeError(
      `The connection file ${file} does not contain a JSON object`,
    );
  }
  return toInstructions(parsed as Readonly<Record<string, unknown>>);
}

/** Throws a `TypeError` that names the field if a field is missing or not valid. */
export function toInstructions(
  file: Readonly<Record<string, unknown>>,
): Instructions {
  const transport = text(file["transport"] ?? "tcp", "transport");
  const common = {
    transport,
    key: text(file["key"] ?? "", "key"),
    signature_scheme: text(
      file["signature_scheme"] ?? "hmac-sha256",
      "signature_scheme",
    ),
  };
  if (file["registration_port"] === undefined) {
    return {
      connection: {
        ...common,
        ip: text(file["ip"] ?? "127.0.0.1", "ip"),
        ...toPorts(file),
      },
    };
  }
  const ip = text(file["registration_ip"] ?? file["ip"], "registration_ip");
  const port = toPort(file["registration_port"], "registration_port");
  return {
    connection: {
      ...common,
      ip,
      ...(Object.fromEntries(portNames.map((name) => [name, 0])) as Ports),
    },
    registration: {
      dialect: file["registration_ip"] === undefined ? "posit" : "spec",
      endpoint: endpointOf(transport, ip, port),
      kernel_id: text(file["kernel_id"] ?? "", "kernel_id"),
    },
  };
}

/** The ZeroMQ endpoint of an address. */
export function endpointOf(
  transport: string,
  ip: string,
  port: number | "*",
): string {
  if (transport === "ipc") return `ipc://${ip}-${port}`;
  return `${transport}://${ip.includes(":") ? `[${ip}]` : ip}:${port}`;
}

function toPorts(file: Readonly<Record<string, unknown>>): Ports {
  return Object.fromEntries(
    portNames.map((name) => [name, toPort(file[name], name)]),
  ) as Ports;
}

/** A port as a number or as digits: the schema of the connection file allows both. */
function toPort(value: unknown, name: string): number {
  const port = typeof value === "string" ? Number(value) : value;
  if (
    typeof port !== "number" ||
    !Number.isInteger(port) ||
    port < 0 ||
    port > 65_535
  ) {
    throw new TypeError(`${name} in the connection file is not a port`);
  }
  return port;
}

function text(value: unknown, name: string): string {
  if (typeof value !== "string")
    throw new TypeError(`${name} in the connection file is not a string`);
  return value;
}
