/**
 * A program that a kernel starts and that listens: its first line is a request,
 * which a line at the beginning of the connection names.
 *
 *     echo        sends back what it gets
 *     source N    sends N bytes, and ends
 *     sink        reads to the end, then sends the number of bytes and their digest, and ends
 *     silent      reads nothing
 *     reset       resets the connection
 *     GET …       answers as HTTP, with the path as the body
 */
import { createHash } from "node:crypto";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import { Readable } from "node:stream";

/** `n` bytes, the same each time. */
export function bytesOf(n: number, size = 48 * 1024): Readable {
  let sent = 0;
  return new Readable({
    read() {
      if (sent === n) {
        this.push(null);
        return;
      }
      const chunk = Buffer.alloc(Math.min(size, n - sent));
      for (let at = 0; at + 4 <= chunk.length; at += 4) {
        chunk.writeUInt32LE((sent + at) >>> 0, at);
      }
      sent += chunk.length;
      this.push(chunk);
    },
  });
}

/** The number of bytes, and their digest. */
export async function digestOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash("sha256");
  let n = 0;
  for await (const chunk of stream) {
    n += chunk.length;
    hash.update(chunk);
  }
  return `${n} ${hash.digest("hex")}`;
}

/** Resolves with the port. */
export function listenForRequests(host: string): Promise<number> {
  const http = createHttpServer((req, res) => res.end(req.url));
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    let head = Buffer.alloc(0);
    const read = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\n");
      if (end === -1) return;
      socket.off("data", read);
      socket.pause();
      const isHttp = head.toString("latin1", 0, 4) === "GET ";
      socket.unshift(isHttp ? head : head.subarray(end + 1));
      if (isHttp) {
        http.emit("connection", socket);
        socket.resume();
      } else answer(socket, head.toString("latin1", 0, end));
    };
    socket.on("data", read);
  });
  return listening(server, host);
}

function answer(socket: Socket, request: string): void {
  const [verb = "", n] = request.split(" ");
  switch (verb) {
    case "echo":
      socket.pipe(socket);
      return;
    case "source":
      bytesOf(Number(n)).pipe(socket);
      return;
    case "sink":
      void digestOf(socket.iterator({ destroyOnReturn: false })).then(
        (digest) => socket.end(digest),
        () => {}, // the connection was reset
      );
      return;
    case "reset":
      socket.resetAndDestroy();
  }
}

function listening(server: Server, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, () => {
      const address = server.address();
      resolve(typeof address === "object" ? (address?.port ?? 0) : 0);
    });
  });
}
