/** A client without a handshake: WebSocket frames on a plain Unix socket, from the first byte on. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;
const TEXT = 0x1;

export class PlainClient {
  /** The text frames, in order. */
  readonly received: string[] = [];
  readonly closed: Promise<unknown>;
  readonly #socket: Socket;
  readonly #pongs: boolean;
  #bytes: Buffer = Buffer.alloc(0);

  /** Without `pongs` it sends nothing by itself. */
  constructor(path: string, { pongs = true } = {}) {
    this.#pongs = pongs;
    const socket = connect(path);
    socket.on("error", () => {}); // the close follows
    socket.on("data", (chunk) => this.#read(chunk));
    this.#socket = socket;
    this.closed = once(socket, "close");
  }

  /** Writes bytes unchanged. */
  write(bytes: Buffer | string): void {
    this.#socket.write(bytes);
  }

  leave(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const bytes = this.#bytes;
      const [first = 0, short = 0] = bytes;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < start) return;
      const size =
        short < 126
          ? short
          : short === 126
            ? bytes.readUInt16BE(2)
            : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < start + size) return;
      const payload = bytes.subarray(start, start + size);
      this.#bytes = bytes.subarray(start + size);
      const opcode = first & 0xf;
      if (opcode === PING && this.#pongs) this.write(masked(payload, PONG));
      if (opcode === CLOSE) this.#socket.end(masked(payload, CLOSE));
      if (opcode === TEXT) this.received.push(payload.toString());
    }
  }
}

/** A client's frame of at most 65,535 bytes, masked with zeros. */
export function masked(payload: Buffer | string, opcode = TEXT): Buffer {
  const bytes = Buffer.from(payload);
  const head = Buffer.alloc(8);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | 126;
  head.writeUInt16BE(bytes.length, 2);
  if (bytes.length > 125) return Buffer.concat([head, bytes]);
  // Control frames must be short.
  return Buffer.concat([
    Buffer.from([0x80 | opcode, 0x80 | bytes.length, 0, 0, 0, 0]),
    bytes,
  ]);
}
