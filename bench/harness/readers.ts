/** Controls the processes of readers. */
import { Child } from "./child.ts";
import type { Door, Flood, FloodResult, Order, Outgoing } from "./reader.ts";
import { type Message, type Server, type Session } from "./server.ts";

interface AttachOptions {
  readonly readers?: number;
  /** The position to begin after; `undefined`: the beginning. Default: the present end. */
  readonly after?: string | undefined;
}

export class Reader extends Child<Order> {
  constructor() {
    super("reader.ts");
  }

  async attach(
    door: Door,
    session: Session,
    how: AttachOptions = {},
  ): Promise<void> {
    const { readers = 1 } = how;
    await this.request({ attach: await attachOf(door, session, how), readers });
  }

  /** Attaches to an existing flood, and resolves when all of it has arrived. */
  async catchUp(
    door: Door,
    session: Session,
    flood: Flood,
    how: AttachOptions,
  ): Promise<FloodResult> {
    const attach = await attachOf(door, session, how);
    return (await this.request({ attach, expect: flood })) as FloodResult;
  }

  /** Resolves when the whole flood has arrived. The messages of `begin`, which the reader sends itself, start it, or the function `begin` does. */
  async receive(
    flood: Flood,
    begin: readonly Outgoing[] | (() => Promise<void>),
  ): Promise<FloodResult> {
    if (typeof begin !== "function") {
      return (await this.request({
        expect: flood,
        send: begin,
      })) as FloodResult;
    }
    await this.request({ expect: flood }); // the reader is ready
    const result = this.nextAnswer();
    await begin();
    return (await result) as FloodResult;
  }

  /** Detaches. Resolves with the number of messages since the last order. */
  async detach(): Promise<Pick<FloodResult, "messages">> {
    return (await this.request({ detach: true })) as Pick<
      FloodResult,
      "messages"
    >;
  }
}

export function sentOnce(message: Message): Outgoing[] {
  return [{ text: JSON.stringify(message), times: 1 }];
}

/** The readers: one process for each door and server, for all rounds. */
export class Readers implements AsyncDisposable {
  readonly #all = new Map<string, Reader>();

  of(door: Door, { name }: Server): Reader {
    const key = `${door} ${name}`;
    const reader = this.#all.get(key) ?? new Reader();
    this.#all.set(key, reader);
    return reader;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const reader of this.#all.values())
      await reader[Symbol.asyncDispose]();
  }
}

async function attachOf(door: Door, session: Session, how: AttachOptions) {
  const { server, id, channel } = session;
  const { url, token, folder } = server;
  const isNow = !("after" in how) && door !== "channel" && door !== "v1";
  const after = isNow ? await lastPosition(session) : how.after;
  return { door, url, token, session_id: id, channel, folder, after };
}

/** The position of the last entry of a session's journal. Only for our own server. */
export async function lastPosition({ server, id }: Session): Promise<string> {
  const headers = { authorization: `Bearer ${server.token}` };
  const response = await fetch(`${server.url}/sessions/${id}`, { headers });
  const { journal_id, last_seq } = (await response.json()) as {
    journal_id: string;
    last_seq: number;
  };
  return `${journal_id}:${last_seq}`;
}
