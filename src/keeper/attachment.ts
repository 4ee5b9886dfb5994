/**
 * The keeper's end of one stream: the hello, the server's frames, and the events
 * of the runs that the server follows, in turn, as fast as it reads.
 */
import type { Duplex } from "node:stream";
import type { Command } from "./command.ts";
import type { EventFrame } from "./event-log.ts";
import { EventReader } from "./events.ts";
import { Forwards } from "./forwards.ts";
import { FrameStream } from "./frame-stream.ts";
import {
  FRAME_LIMIT,
  type Frame,
  frameKinds,
  frameOf,
  jsonFrame,
  objectOf,
  readU64,
  StreamError,
  writeU64,
} from "./frames.ts";
import type { KeeperHello, Refused, ServerHello } from "./hello.ts";
import type { KeptRun } from "./kept-run.ts";

export interface AttachmentHooks {
  /** The peer's first frame. Answered by `welcome` or `refuse`. */
  hello(hello: Partial<ServerHello>): void;
  command(command: Command): void;
  run(run_id: string): KeptRun | undefined;
  /** Does something once for a command's id, and answers it. */
  answered(run: KeptRun | undefined, id: string, act: () => unknown): void;
  acknowledged(): void;
  /** Connects to a port of the run's place. */
  forward(run_id: string, port: number): Promise<Duplex>;
  closed(why: string): void;
}

const ABOUT_RUNS: ReadonlySet<number> = new Set([
  frameKinds.follow,
  frameKinds.hold,
  frameKinds.ack,
]);

/** How far the server has been sent the events of a run. */
interface Cursor {
  sent: number;
}

export class Attachment {
  readonly #hooks: AttachmentHooks;
  readonly #stream: FrameStream;
  readonly #forwards: Forwards;
  readonly #cursors = new Map<KeptRun, Cursor>();
  readonly #reader = new EventReader();
  #phase: "unverified" | "verifying" | "accepted" = "unverified";
  /** The version of the protocol that both sides speak. */
  #protocol = 0;
  #wake: () => void = () => {};

  constructor(stream: Duplex, hooks: AttachmentHooks, ping_ms?: number) {
    this.#hooks = hooks;
    this.#stream = new FrameStream(stream, {
      onFrame: (frame) => this.#received(frame),
      onClose: (why) => {
        this.#wake();
        this.#forwards.close(new Error(why));
        hooks.closed(why);
      },
      ping_ms,
    });
    this.#forwards = new Forwards({
      stream: this.#stream,
      wake: () => this.#wake(),
      connect: (run_id, port) => hooks.forward(run_id, port),
    });
  }

  accept(hello: KeeperHello, protocol: number): void {
    this.#phase = "accepted";
    this.#protocol = protocol;
    this.#stream.accept(FRAME_LIMIT);
    this.write(jsonFrame(frameKinds.hello, hello));
    void this.#sendEvents(); // never rejects
  }

  refuse(refused: Refused): void {
    this.write(jsonFrame(frameKinds.hello, refused));
    this.end("it was refused");
  }

  /** Another server has come with a higher epoch. */
  displace(epoch: number): void {
    this.write(jsonFrame(frameKinds.displaced, { epoch }));
    this.end("another server has displaced it");
  }

  write(pieces: readonly Buffer[]): void {
    this.#stream.together(() => this.#stream.write(pieces));
  }

  /** A run has an event. */
  wake(): void {
    this.#wake();
  }

  /** Sends no more events of the run. */
  hold(run: KeptRun): void {
    this.#cursors.delete(run);
  }

  end(why: string): void {
    this.#stream.end(why);
  }

  close(why: string): void {
    this.#stream.close(why);
  }

  #received(frame: Frame): void {
    const { kind, body } = frame;
    if (this.#phase === "unverified" && kind === frameKinds.hello) {
      this.#phase = "verifying";
      this.#hooks.hello(objectOf(body));
      return;
    }
    if (this.#phase !== "accepted") throw new StreamError("no hello came");
    switch (kind) {
      case frameKinds.command: {
        const command = objectOf(body) as unknown as Command;
        if (typeof command.id !== "string") {
          throw new StreamError("a command without an id");
        }
        this.#hooks.command(command);
        return;
      }
      case frameKinds.send:
        this.#send(body);
        return;
    }
    if (this.#protocol >= 2 && this.#forwards.received(frame)) return;
    if (!ABOUT_RUNS.has(kind)) {
      throw new StreamError("a frame of an unknown kind");
    }
    const run = this.#hooks.run(body.toString("hex", 0, 16));
    if (run === undefined) return; // it was retired, or it could not begin
    switch (kind) {
      case frameKinds.follow:
        this.#cursors.set(run, { sent: readU64(body, 16) });
        this.#wake();
        return;
      case frameKinds.hold:
        this.hold(run);
        return;
      case frameKinds.ack:
        run.log.acknowledge(readU64(body, 16));
        this.#hooks.acknowledged();
    }
  }

  /** Run, length of the command's id, id, message. */
  #send(body: Buffer): void {
    const start = 17 + (body[16] ?? 0);
    const id = body.toString("latin1", 17, start);
    const run = this.#hooks.run(body.toString("hex", 0, 16));
    this.#hooks.answered(run, id, () => {
      if (run === undefined)
        throw new Error("The keeper does not have the run");
      run.send(this.#reader.read(body.subarray(start)));
    });
  }

  /** Until the stream ends: each run that is followed gets its turn, and the forwarded connections together get one. */
  async #sendEvents(): Promise<void> {
    while (!this.#stream.isClosed) {
      let isIdle = true;
      const awake = new Promise<void>((resolve) => (this.#wake = resolve));
      for (const [run, cursor] of [...this.#cursors]) {
        if (cursor.sent >= run.log.newest) continue;
        isIdle = false;
        await this.#sendSome(run, cursor);
      }
      if (this.#forwards.isReady) {
        isIdle = false;
        await this.#forwards.turn();
      }
      if (isIdle) await awake;
    }
  }

  async #sendSome(run: KeptRun, cursor: Cursor): Promise<void> {
    const { log } = run;
    const isFollowed = () => this.#cursors.get(run) === cursor;
    if (!isFollowed()) return;
    if (cursor.sent + 1 < log.oldest) {
      this.write(gapFrame(run.run_id, cursor.sent + 1, log.oldest - 1));
      cursor.sent = log.oldest - 1;
      return;
    }
    const found = log.read(cursor.sent);
    const events = found instanceof Promise ? await found : found;
    for (let at = 0; at < events.length && isFollowed();) {
      at = this.#writeFrom(events, at, cursor);
      if (this.#stream.isFull) await this.#stream.drained();
      if (this.#stream.isClosed) return;
    }
  }

  /** Writes until so much waits that the server should read first. Returns the index of the next event. */
  #writeFrom(
    events: readonly EventFrame[],
    start: number,
    cursor: Cursor,
  ): number {
    let at = start;
    this.#stream.together(() => {
      while (at < events.length && !this.#stream.isFull) {
        this.#stream.write(events[at] ?? []);
        at += 1;
        cursor.sent += 1;
      }
    });
    return at;
  }
}

function gapFrame(run_id: string, from: number, to: number): Buffer[] {
  const numbers = Buffer.alloc(16);
  writeU64(numbers, 0, from);
  writeU64(numbers, 8, to);
  return frameOf(frameKinds.gap, Buffer.from(run_id, "hex"), numbers);
}
