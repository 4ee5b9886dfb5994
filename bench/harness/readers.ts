/** The process that reads, as the questions order it about. */
import { Child } from "./child.ts";
import type { Door, Flood, Heard, Order, Said } from "./reader.ts";
import { type Message, type Server, type Session } from "./server.ts";

interface How {
  readonly readers?: number;
  /** A position, or nothing for the beginning; `now` unless given. */
  readonly after?: string | undefined;
}

export class Reader extends Child<Order> {
  constructor() {
    super("reader.ts");
  }

  async attach(door: Door, session: Session, how: How = {}): Promise<void> {
    const { readers = 1 } = how;
    await this.ask({ attach: await toOf(door, session, how), readers });
  }

  /** Attaches to what has been said, and resolves when all of it was heard. */
  async catchesUp(
    door: Door,
    session: Session,
    flood: Flood,
    how: How,
  ): Promise<Heard> {
    const attach = await toOf(door, session, how);
    return (await this.ask({ attach, expect: flood })) as Heard;
  }

  /** Resolves when all of the flood was heard that these words begin, said by the reader itself, or that `begin` begins. */
  async hears(
    flood: Flood,
    begin: readonly Said[] | (() => Promise<void>),
  ): Promise<Heard> {
    if (typeof begin !== "function") {
      return (await this.ask({ expect: flood, send: begin })) as Heard;
    }
    await this.ask({ expect: flood }); // ready
    const heard = this.answer();
    await begin();
    return (await heard) as Heard;
  }

  /** Leaves; resolves with what it has heard since it was last asked. */
  async detach(): Promise<Pick<Heard, "messages">> {
    return (await this.ask({ detach: true })) as Pick<Heard, "messages">;
  }
}

export function onceSaid(message: Message): Said[] {
  return [{ text: JSON.stringify(message), times: 1 }];
}

/** One process for each door and server, kept over all rounds. */
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

async function toOf(door: Door, session: Session, how: How) {
  const { server, id, channel } = session;
  const { url, token, folder } = server;
  const isNow = !("after" in how) && door !== "channel";
  const after = isNow ? await nowIn(session) : how.after;
  return { door, url, token, session_id: id, channel, folder, after };
}

/** The position of the newest entry of a session of ours. */
export async function nowIn({ server, id }: Session): Promise<string> {
  const headers = { authorization: `Bearer ${server.token}` };
  const response = await fetch(`${server.url}/sessions/${id}`, { headers });
  const { journal_id, last_seq } = (await response.json()) as {
    journal_id: string;
    last_seq: number;
  };
  return `${journal_id}:${last_seq}`;
}
