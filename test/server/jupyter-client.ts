/** A client of Jupyter's WebSocket protocols for the tests. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { expect, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { eventually, openServer, type TestServer, TOKEN } from "../harness.ts";

export const V1 = "v1.kernel.websocket.jupyter.org";

export interface Received {
  readonly channel: string;
  readonly header: { readonly msg_id: string; readonly msg_type: string };
  readonly parent_header: { readonly msg_id?: string };
  readonly content: Readonly<Record<string, unknown>>;
  readonly buffers: readonly Buffer[];
}

/** A server for one test. */
export async function opened(): Promise<TestServer> {
  const server = await openServer();
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

export async function startKernel(
  server: TestServer,
  name = "echo",
): Promise<string> {
  const { status, body, text } = await server.ask("POST", "/api/kernels", {
    name,
  });
  expect(status, text).toBe(201);
  const { id } = body as { readonly id: string };
  await untilIdle(server, id);
  return id;
}

/** On a loaded machine the answer to a start may arrive before the kernel is ready. */
export function untilIdle(server: TestServer, id: string): Promise<unknown> {
  return eventually("an idle kernel", async () => {
    const { body } = await server.ask("GET", `/api/kernels/${id}`);
    const { execution_state } = body as { readonly execution_state: string };
    return execution_state === "idle" ? body : undefined;
  });
}

/** One client of a kernel's channels, in either protocol. */
export class Client {
  readonly socket: WebSocket;
  readonly received: Received[] = [];
  /** The close code of the socket. */
  code: number | undefined;
  readonly #isBinary: boolean;

  private constructor(socket: WebSocket, isBinary: boolean) {
    this.socket = socket;
    this.#isBinary = isBinary;
    socket.on("error", () => {});
    socket.on("close", (code) => (this.code = code));
    socket.on("message", (data: Buffer, isBinaryFrame: boolean) =>
      this.received.push(
        isBinary ? fromV1(data) : fromDefault(data, isBinaryFrame),
      ),
    );
  }

  static async open(
    server: TestServer,
    kernel_id: string,
    {
      protocol = V1,
      session_id = randomUUID(),
      query = "",
      autoPong = true,
    }: {
      protocol?: string;
      session_id?: string;
      query?: string;
      autoPong?: boolean;
    } = {},
  ): Promise<Client> {
    const url = `${server.url.replace("http", "ws")}/api/kernels/${kernel_id}/channels?session_id=${session_id}&token=${TOKEN}${query}`;
    const socket = new WebSocket(url, protocol === "" ? [] : [protocol], {
      autoPong,
    });
    const client = new Client(socket, protocol === V1);
    onTestFinished(() => socket.terminate());
    await once(socket, "open");
    expect(socket.protocol).toBe(protocol);
    return client;
  }

  /** Sends a message; returns its `msg_id`. */
  send(
    msg_type: string,
    content: object,
    { channel = "shell", buffers = [] as Buffer[] } = {},
  ): string {
    const msg_id = randomUUID();
    const header = { msg_id, msg_type, session: "s", username: "u" };
    const frames = [header, {}, {}, content].map((part) =>
      Buffer.from(JSON.stringify(part)),
    );
    const text = Buffer.from(
      JSON.stringify({
        ...(channel !== "shell" && { channel }), // gateways leave it out
        header: { ...header, date: Date.now() / 1000 },
        parent_header: {},
        metadata: {},
        content,
      }),
    );
    if (this.#isBinary) {
      this.socket.send(toV1([Buffer.from(channel), ...frames, ...buffers]));
    } else if (buffers.length === 0) this.socket.send(text.toString());
    else this.socket.send(toDefault([text, ...buffers]));
    return msg_id;
  }

  /** The messages for this request, when its reply and its idle have arrived. */
  async answered(msg_id: string): Promise<readonly Received[]> {
    const own = () =>
      this.received.filter(({ parent_header: p }) => p.msg_id === msg_id);
    return eventually(`an answer to ${msg_id}`, () => {
      const messages = own();
      const isOver =
        messages.some(({ header }) => header.msg_type.endsWith("_reply")) &&
        messages.some(({ content }) => content["execution_state"] === "idle");
      return isOver ? messages : undefined;
    });
  }

  get states(): readonly unknown[] {
    return this.received
      .filter(({ header }) => header.msg_type === "status")
      .map(({ content }) => content["execution_state"]);
  }
}

function toV1(parts: readonly Buffer[]): Buffer {
  const count = parts.length + 1;
  const head = Buffer.alloc(8 * (1 + count));
  head.writeBigUInt64LE(BigInt(count), 0);
  let offset = head.length;
  for (const [index, part] of [...parts, Buffer.alloc(0)].entries()) {
    head.writeBigUInt64LE(BigInt(offset), 8 * (1 + index));
    offset += part.length;
  }
  return Buffer.concat([head, ...parts]);
}

function fromV1(data: Buffer): Received {
  const count = Number(data.readBigUInt64LE(0));
  const offsets = Array.from({ length: count }, (_, index) =>
    Number(data.readBigUInt64LE(8 * (1 + index))),
  );
  expect(offsets[0]).toBe(8 * (1 + count));
  expect(offsets.at(-1)).toBe(data.length);
  const parts = offsets
    .slice(0, -1)
    .map((offset, index) => data.subarray(offset, offsets[index + 1]));
  const [channel, header, parent_header, , content, ...buffers] = parts;
  const json = (bytes: Buffer | undefined): unknown =>
    JSON.parse(String(bytes));
  return {
    channel: String(channel),
    header: json(header) as Received["header"],
    parent_header: json(parent_header) as Received["parent_header"],
    content: json(content) as Received["content"],
    buffers,
  };
}

function toDefault(parts: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(4 * (1 + parts.length));
  head.writeUInt32BE(parts.length, 0);
  let offset = head.length;
  for (const [index, part] of parts.entries()) {
    head.writeUInt32BE(offset, 4 * (1 + index));
    offset += part.length;
  }
  return Buffer.concat([head, ...parts]);
}

function fromDefault(data: Buffer, isBinary: boolean): Received {
  if (!isBinary) return { ...(JSON.parse(String(data)) as Received) };
  const count = data.readUInt32BE(0);
  const offsets = Array.from({ length: count }, (_, index) =>
    data.readUInt32BE(4 * (1 + index)),
  );
  expect(offsets[0]).toBe(4 * (1 + count));
  const [text, ...buffers] = offsets.map((offset, index) =>
    data.subarray(offset, offsets[index + 1]),
  );
  return { ...(JSON.parse(String(text)) as Received), buffers };
}
