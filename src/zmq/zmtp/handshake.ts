/**
 * The ZMTP 3 handshake: a greeting, then READY (RFC 23, NULL).
 *
 *     greeting  FF  8 bytes  7F   major minor   mechanism[20]   as-server   31 zeros
 *     READY     (name-length name  value-length[4] value)…
 *
 * Our version is 3.0, in which subscriptions are messages: every peer accepts those.
 */
import type { LinkOptions } from "../transport.ts";
import { BadPeer } from "./bad-peer.ts";

export const GREETING_SIZE = 64; // bytes

/**
 * We send the signature and the major version first, and the rest when the peer
 * has sent its own. libzmq closes the connection at a different mechanism before
 * it has sent its own mechanism; the reason would be unknown.
 */
export const GREETING_START = 11; // bytes

const OUR_GREETING: Uint8Array = ourGreeting();

const SOCKET_TYPES = {
  dealer: { name: "DEALER", peers: ["ROUTER", "REP", "DEALER"] },
  sub: { name: "SUB", peers: ["PUB", "XPUB"] },
  router: { name: "ROUTER", peers: ["REQ", "DEALER", "ROUTER"] },
  xpub: { name: "XPUB", peers: ["SUB", "XSUB"] },
} as const;

/** The types of our sockets. */
export type SocketType = keyof typeof SOCKET_TYPES;

/** A subscription to all topics, as the message that SUB sockets send. */
export const SUBSCRIBE_TO_ALL: readonly Uint8Array[] = [Uint8Array.of(1)];

export function greeting(): Uint8Array {
  return OUR_GREETING;
}

/**
 * Throws `BadPeer` as soon as the received bytes show that this is not a ZMTP 3
 * peer with the NULL mechanism. An old peer never sends all 64 bytes: it waits for
 * the next step of its own version.
 */
export function checkGreeting(bytes: Uint8Array): void {
  const [first] = bytes;
  if (first === undefined) return;
  if (first !== 0xff) {
    // ZMTP 1 begins with the identity as a frame: a length and zero flags.
    if (first > 0 && bytes[1] === 0) throw oldPeer("1.0");
    if (first > 0 && bytes.length < 2) return;
    throw new BadPeer(
      "protocol",
      "The peer does not use ZeroMQ: check the port",
    );
  }
  if (bytes.length >= 10 && ((bytes[9] ?? 0) & 1) === 0) throw oldPeer("1.0");
  const major = bytes[10];
  if (major === undefined) return;
  if (major < 3) throw oldPeer(major === 0 ? "1.0" : "2.0");
  if (bytes.length < 32) return;
  const mechanism = Buffer.from(bytes.subarray(12, 32))
    .toString("latin1")
    .replace(/\0+$/, "");
  if (mechanism === "NULL") return;
  if (!/^[A-Z0-9_.+-]+$/.test(mechanism)) {
    throw new BadPeer("protocol", "The peer's ZeroMQ greeting is damaged");
  }
  throw new BadPeer(
    "mechanism",
    `The peer requires the ${mechanism} security mechanism and this connection uses NULL: ` +
      (mechanism === "CURVE"
        ? "give the curve keys of its connection file (needs the libzmq driver)"
        : "let it use NULL, or CURVE with keys in its connection file"),
  );
}

/** Our properties in READY. */
export interface SocketProperties extends Pick<LinkOptions, "identity"> {
  readonly type: SocketType;
}

/** The body of our READY command. */
export function ready({ type, identity }: SocketProperties): Uint8Array {
  const properties = [
    property("Socket-Type", Buffer.from(SOCKET_TYPES[type].name)),
  ];
  if (type === "dealer") {
    properties.push(property("Identity", identity ?? new Uint8Array()));
  }
  return Buffer.concat(properties);
}

/** The peer's identity, usually empty. Throws `BadPeer` unless the socket type in its READY matches ours. */
export function checkReady(body: Uint8Array, type: SocketType): Uint8Array {
  const properties = readProperties(body);
  const name = properties.get("socket-type");
  const { name: ours, peers } = SOCKET_TYPES[type];
  if (name !== undefined && (peers as readonly string[]).includes(name)) {
    return Buffer.from(properties.get("identity") ?? "", "latin1");
  }
  throw new BadPeer(
    "socket_type",
    `The peer is a ${name ?? "socket without a type"}, and a ${ours} connects to ${peers.join(" or ")}: check the port`,
  );
}

/** The error for a peer's ERROR command. */
export function peerError(body: Uint8Array): BadPeer {
  const reason = Buffer.from(body.subarray(1, 1 + (body[0] ?? 0)));
  return new BadPeer(
    "refused",
    `The peer refused the connection: ${JSON.stringify(reason.toString("latin1"))}`,
  );
}

function oldPeer(version: string): BadPeer {
  return new BadPeer(
    "revision",
    `The peer uses ZMTP ${version}, from before 2013, and this driver uses 3.0: use the libzmq driver, or a newer ZeroMQ in the kernel`,
  );
}

function ourGreeting(): Uint8Array {
  const bytes = new Uint8Array(GREETING_SIZE);
  bytes[0] = 0xff;
  bytes[8] = 1; // as libzmq does: for a ZMTP 1 peer it is the length of an empty identity
  bytes[9] = 0x7f;
  bytes[10] = 3;
  bytes.set(Buffer.from("NULL"), 12);
  return bytes;
}

function property(name: string, value: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return Buffer.concat([
    Uint8Array.of(name.length),
    Buffer.from(name),
    length,
    value,
  ]);
}

/** Properties by lower-case name; names are case-insensitive on the wire. */
function readProperties(body: Uint8Array): Map<string, string> {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  const properties = new Map<string, string>();
  let at = 0;
  while (at < bytes.length) {
    const nameEnd = at + 1 + (bytes[at] ?? 0);
    if (nameEnd + 4 > bytes.length) throw damagedReady();
    const valueEnd = nameEnd + 4 + bytes.readUInt32BE(nameEnd);
    if (valueEnd > bytes.length) throw damagedReady();
    properties.set(
      bytes.toString("latin1", at + 1, nameEnd).toLowerCase(),
      bytes.toString("latin1", nameEnd + 4, valueEnd),
    );
    at = valueEnd;
  }
  return properties;
}

function damagedReady(): BadPeer {
  return new BadPeer("protocol", "The peer's READY command is damaged");
}
