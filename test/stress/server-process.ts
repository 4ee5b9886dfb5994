/**
 * A server in its own process, to be killed, stopped, or run with less disk
 * space or a false clock, with a kernel that counts its messages.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { type Answer, ask, eventually, TOKEN } from "../harness.ts";
import type { Room, Running, RunOptions } from "../command/kallichore.ts";

export class ServerProcess {
  readonly url: string;
  readonly running: Running;
  readonly #room: Room;

  private constructor(room: Room, running: Running) {
    this.#room = room;
    this.running = running;
    this.url = (JSON.parse(running.stdout) as { url: string }).url;
  }

  /** Resolves when it has printed its address; the room ends it. */
  static async in(
    room: Room,
    args: readonly string[] = [],
    { env, ...options }: RunOptions = {},
  ): Promise<ServerProcess> {
    const running = room.start(["serve", "--json", ...args], {
      ...options,
      env: { KALLICHORE_TOKEN: TOKEN, ...env },
    });
    await running.until("\n");
    return new ServerProcess(room, running);
  }

  get pid(): number {
    return this.running.child.pid ?? NaN;
  }

  signal(signal: NodeJS.Signals): void {
    this.running.child.kill(signal);
  }

  ask(method: string, path: string, body?: unknown): Promise<Answer> {
    const headers = {
      authorization: `Bearer ${TOKEN}`,
      "content-type": "application/json",
    };
    return ask(this, { method, path, body, headers });
  }

  /** Starts a kernel that floods. */
  async witness(session_id: string): Promise<Witness> {
    const record = join(this.#room.folder, `${session_id}.record`);
    const env = [{ action: "replace", name: "WITNESS_FILE", value: record }];
    const kernel_name = "witness";
    const made = { session_id, kernel_name, env };
    for (const [method, path, body] of [
      ["PUT", "/sessions", made],
      ["POST", `/sessions/${session_id}/start`, undefined],
    ] as const) {
      const answer = await this.ask(method, path, body);
      if (answer.status !== 200) throw new Error(answer.text);
    }
    return new Witness(this, session_id, record);
  }
}

/** The data that a reader received. */
export interface Received {
  readonly kind: string;
  readonly seq: number;
  readonly from?: number;
  readonly to?: number;
  readonly status?: string;
  /** The kernel's count. */
  readonly n?: number;
}

export class Witness {
  readonly session_id: string;
  readonly #server: ServerProcess;
  readonly #record: string;
  /** The number of requested messages. */
  printed = 0;
  /** The execution that prints the last of them. */
  #newest = "";

  constructor(server: ServerProcess, session_id: string, record: string) {
    this.#server = server;
    this.session_id = session_id;
    this.#record = record;
    appendFileSync(record, "");
  }

  /** Requests this many messages of up to `size` bytes; does not wait for them. */
  async begin(count: number, size: number): Promise<void> {
    this.printed += count;
    this.#newest = crypto.randomUUID();
    const { session_id } = this;
    const path = `/sessions/${session_id}/messages`;
    const answer = await this.#server.ask("POST", path, {
      channel: "shell",
      header: { msg_id: this.#newest, msg_type: "execute_request" },
      content: { code: `flood ${count} ${size}` },
      buffers: [],
    });
    if (answer.status !== 202) throw new Error(answer.text);
  }

  /** The same; resolves when the kernel has recorded in its own file that it has sent them, and the server has them. */
  async flood(count: number, size: number): Promise<void> {
    await this.begin(count, size);
    await this.done();
  }

  async done(): Promise<void> {
    await eventually(`${this.printed} messages printed`, () =>
      readFileSync(this.#record, "utf8").includes(`printed ${this.printed}\n`)
        ? true
        : undefined,
    );
    // That the kernel is idle could be of the time before.
    const path = `/sessions/${this.session_id}/executions/${this.#newest}`;
    const last = await eventually("the end of the flood", async () => {
      const { body } = await this.#server.ask("GET", path);
      const { state, last_seq } = body as { state: string; last_seq: number };
      return state === "done" ? last_seq : undefined;
    });
    // A server that keeps sessions shows the entries when they are written.
    await eventually("the last message in the journal", async () =>
      Number((await this.describe())["last_seq"]) >= last ? true : undefined,
    );
  }

  async describe(): Promise<Readonly<Record<string, unknown>>> {
    const answer = await this.#server.ask(
      "GET",
      `/sessions/${this.session_id}`,
    );
    return answer.body as Record<string, unknown>;
  }

  /** All present entries after number `after`; throws if they differ from the kernel's messages. */
  async read(after = 0): Promise<readonly Received[]> {
    const last = Number((await this.describe())["last_seq"]);
    const received: Received[] = [];
    let seen = after;
    for await (const event of events(
      this.#server.url,
      this.session_id,
      after,
    )) {
      const from = event.from ?? event.seq;
      if (from !== seen + 1) throw new Error(`${from} follows ${seen}`);
      seen = event.to ?? event.seq;
      received.push(event);
      if (seen >= last) break;
    }
    return received;
  }
}

async function* events(
  url: string,
  session_id: string,
  after: number,
): AsyncGenerator<Received, void> {
  const stop = new AbortController();
  const headers = {
    authorization: `Bearer ${TOKEN}`,
    "last-event-id": String(after),
  };
  const { signal } = stop;
  const path = `${url}/sessions/${session_id}/events`;
  const req = get(path, { agent: false, headers, signal });
  req.on("error", () => {}); // the reader has closed the connection, or the server is gone
  const res = await new Promise<AsyncIterable<Buffer>>((resolve, reject) => {
    req.once("response", resolve);
    req.once("error", reject);
  });
  try {
    let pending = "";
    const decoder = new TextDecoder("utf-8", { fatal: true });
    for await (const bytes of res) {
      pending += decoder.decode(bytes, { stream: true });
      const blocks = pending.split("\n\n");
      pending = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = /^data: (.*)$/m.exec(block)?.[1];
        if (data !== undefined) yield heardIn(data);
      }
    }
  } finally {
    stop.abort();
  }
}

function heardIn(data: string): Received {
  const event = JSON.parse(data) as Received & {
    header?: { msg_type: string };
    content?: { text: string };
  };
  if (event.header?.msg_type !== "stream") return event;
  const { kind, seq, content } = event;
  const [, n] = /^(\d+):x*$/.exec(content?.text ?? "") ?? [];
  if (n === undefined) throw new Error(`Corrupt: ${data.slice(0, 200)}`);
  return { kind, seq, n: Number(n) };
}
