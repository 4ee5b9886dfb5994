/** The process that reads, as the questions order it about. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ended } from "./process.ts";
import type { Door, Flood, Heard, Order } from "./reader.ts";
import type { Session } from "./server.ts";

const PATIENCE_MS = 300_000;
const program = fileURLToPath(new URL("reader.ts", import.meta.url));

export class Reader implements AsyncDisposable {
  readonly #child: ChildProcess = fork(program);

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Begins at what is said next, unless `after` says otherwise. */
  async attach(
    door: Door,
    session: Session,
    { readers = 1, after = "now" }: { readers?: number; after?: string } = {},
  ): Promise<void> {
    const { server, id, channel } = session;
    const { url, token, folder } = server;
    const from =
      after === "now" && door !== "channel" ? await nowIn(session) : after;
    const to = {
      door,
      url,
      token,
      session_id: id,
      channel,
      folder,
      after: from,
    };
    await this.#ask({ attach: to, readers });
  }

  /** Resolves when all of the flood was heard, which `begin` begins; the channel says the texts itself. */
  async hears(
    flood: Flood,
    begin: { send: readonly string[] } | (() => Promise<void>),
  ): Promise<Heard> {
    if (typeof begin !== "function") {
      return (await this.#ask({ expect: flood, ...begin })) as Heard;
    }
    await this.#ask({ expect: flood }); // ready
    const heard = this.#answer();
    await begin();
    return (await heard) as Heard;
  }

  async detach(): Promise<void> {
    await this.#ask({ detach: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ended(this.#child);
  }

  #ask(order: Order): Promise<unknown> {
    const answer = this.#answer();
    this.#child.send(order);
    return answer;
  }

  async #answer(): Promise<unknown> {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const [answer] = (await once(this.#child, "message", { signal })) as [
      unknown,
    ];
    const { error } = Object(answer) as { error?: string };
    if (error !== undefined) throw new Error(`the reader: ${error}`);
    return answer;
  }
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
