/**
 * The server's end of the stream to a keeper. It attaches again after each loss,
 * and the runs go on where they were: commands that were not answered are sent
 * again with their ids, and each run is followed from its last event.
 */
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import type { Message } from "../jupyter/message.ts";
import type { LimitsChange } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import { within } from "../time/within.ts";
import type { Command } from "./command.ts";
import { eventIn, piecesOf, type ReceivedEvent } from "./events.ts";
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
import {
  commonProtocol,
  isCompatible,
  type KeeperHello,
  type KeepTimes,
  type Refused,
  type RunFacts,
  type ServerHello,
  versions,
} from "./hello.ts";
import { fromWire, type WireError } from "./wire-error.ts";

export interface KeeperLinkOptions {
  /** Opens a stream to the keeper. */
  readonly connect: () => Duplex | Promise<Duplex>;
  readonly secret: string;
  /** Higher than that of all earlier servers with this state. */
  readonly epoch: number;
  readonly log: Log;
  /** How long kernels may run while no server is attached. Default: as the keeper was told before. */
  readonly times?: KeepTimes | undefined;
  /** What ended the keeper before this one, and so the runs that this one does not have. */
  readonly before?: string | undefined;
  /** Why the keeper does not exist any more; `undefined` if it may. Asked after each loss of the stream. */
  readonly whyGone: () => string | undefined;
  /** Why it cannot be asked although it may exist, for people. Default: the stream is lost. */
  readonly whyLate?: string | undefined;
  /** Called once, when the keeper does not exist any more. */
  readonly onGone?: (why: string) => void;
  /** Milliseconds; for tests. */
  readonly ping_ms?: number | undefined;
}

/** Takes what a keeper sends about one run. No method may throw. */
export interface RunSink {
  readonly run_id: string;
  /** The number of the last event that was received. */
  readonly received: number;
  /** Whether it takes no events now. */
  readonly isHeld: boolean;
  event(event: ReceivedEvent): void;
  gap(from: number, to: number): void;
  /** The stream is there again. `facts`: `undefined` if the keeper does not have the run. */
  attached(facts: RunFacts | undefined): void;
  /** The stream has been missing for a while. */
  detached(): void;
  /** No event will come any more. */
  gone(why: string): void;
}

/** The keeper cannot be asked now, or any more. */
export class KeeperUnreachable extends Error {
  override readonly name = "KeeperUnreachable";
  /** Whether it may answer later: its process runs. */
  readonly isLate: boolean;
  /** Whether it is of an earlier version that cannot do this. */
  readonly isOld: boolean;

  constructor(message: string, { isLate = false, isOld = false } = {}) {
    super(message);
    this.isLate = isLate;
    this.isOld = isOld;
  }
}

/** The first wait before the stream is opened again; doubled by each failure. */
const RETRY_MS = 50;
const LONGEST_RETRY_MS = 2_000;
/** How long the first attachment may take. */
const FIRST_MS = 15_000;
const HELLO_TIMEOUT_MS = 10_000;
/** A stream that is missing for this long is reported to the runs. */
const DETACHED_MS = 2_000;
/** How long a command waits for the stream. */
const COMMAND_WAIT_MS = 10_000;
/** Bytes of messages that the keeper has not confirmed. */
const PENDING_LIMIT = 64 * 1024 * 1024;
/** Acknowledgements of this time are sent together. */
const ACK_MS = 20;

interface Pending {
  readonly frame: readonly Buffer[];
  readonly bytes: number;
  /** Whether it waits for the stream as long as it takes. */
  readonly waitsForStream: boolean;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class KeeperLink {
  /** Names this link in its hello and in the ids of its commands. */
  readonly #name = randomBytes(8).toString("hex");
  readonly #options: KeeperLinkOptions;
  readonly #sinks = new Map<string, RunSink>();
  readonly #pending = new Map<string, Pending>();
  readonly #acks = new Map<string, number>();
  #runs = new Map<string, RunFacts>();
  #stream: FrameStream | undefined;
  #forwards: Forwards | undefined;
  #isForwarding = false;
  /** What the keeper last said of itself. */
  #keeper: Partial<KeeperHello> = {};
  #isAttached = false;
  /** Why it will not attach any more. */
  #over: string | undefined;
  #isGone = false;
  #failures = 0;
  #commands = 0;
  #bytes = 0;
  #detachedAt = performance.now();
  #detachTimers: NodeJS.Timeout[] = [];
  #retryTimer: NodeJS.Timeout | undefined;
  #ackTimer: NodeJS.Timeout | undefined;
  #first: { resolve: () => void; reject: (error: Error) => void } | undefined;

  private constructor(options: KeeperLinkOptions) {
    this.#options = options;
  }

  /** Resolves when it is attached. Rejects with a `KeeperUnreachable` that says why not. */
  static async open(options: KeeperLinkOptions): Promise<KeeperLink> {
    const link = new KeeperLink(options);
    const first = new Promise<true>((resolve, reject) => {
      link.#first = { resolve: () => resolve(true), reject };
    });
    void link.#attach();
    if ((await within(first, FIRST_MS)) !== true) {
      const why = link.#whyUnreachable;
      link.close();
      throw new KeeperUnreachable(why, { isLate: true });
    }
    return link;
  }

  /** The runs that the keeper had when this link last attached. */
  get runs(): ReadonlyMap<string, RunFacts> {
    return this.#runs;
  }
  /** The keeper's process, as it said when this link last attached. */
  get pid(): number | undefined {
    return this.#keeper.pid;
  }
  /** Why a run is gone that the keeper does not have. */
  get whyMissing(): string {
    return this.#options.before ?? "its keeper does not have it any more";
  }
  get isAttached(): boolean {
    return this.#isAttached;
  }
  /** Why it will not attach any more: the keeper is gone, another server has it, or the link was closed. */
  get over(): string | undefined {
    return this.#over;
  }
  /** Whether the keeper does not exist any more. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Resolves with the result. Rejects with the keeper's failure, or with a `KeeperUnreachable`: at once if the stream has been missing for long and `waitsForStream` is not set. */
  command(
    command: Omit<Command, "id">,
    { waitsForStream = false } = {},
  ): Promise<unknown> {
    if (
      this.#over !== undefined ||
      (!waitsForStream && this.#isDetachedForLong)
    ) {
      return Promise.reject(new KeeperUnreachable(this.#whyUnreachable));
    }
    const id = this.#nextId();
    const frame = jsonFrame(frameKinds.command, { id, ...command });
    return new Promise((resolve, reject) => {
      this.#submit(id, { frame, bytes: 0, waitsForStream, resolve, reject });
    });
  }

  /** server → kernel, in order. `failed` is called if the keeper could not send it. Throws a `KeeperUnreachable`. */
  send(run_id: string, message: Message, failed: (error: Error) => void): void {
    if (this.#over !== undefined) throw new KeeperUnreachable(this.#over);
    const id = this.#nextId();
    const frame = frameOf(
      frameKinds.send,
      Buffer.from(run_id, "hex"),
      Buffer.from([id.length]),
      Buffer.from(id, "latin1"),
      ...piecesOf(message),
    );
    let bytes = 0;
    for (const { length } of frame) bytes += length;
    if (this.#bytes > 0 && this.#bytes + bytes > PENDING_LIMIT) {
      throw new KeeperUnreachable(
        "its keeper has not taken the earlier messages",
      );
    }
    this.#bytes += bytes;
    const pending = { frame, bytes, waitsForStream: true, reject: failed };
    this.#submit(id, { ...pending, resolve: () => {} });
  }

  /** The sink gets the events after its last one. */
  follow(sink: RunSink): void {
    this.#sinks.set(sink.run_id, sink);
    this.#write(numberedFrame(frameKinds.follow, sink.run_id, sink.received));
  }

  /** The keeper sends no more events of the run until it is followed again. */
  hold(run_id: string): void {
    this.#write(frameOf(frameKinds.hold, Buffer.from(run_id, "hex")));
  }

  /** The keeper may drop the run's events up to this number. */
  acknowledge(run_id: string, number: number): void {
    if (number <= (this.#acks.get(run_id) ?? 0)) return;
    this.#acks.set(run_id, number);
    this.#ackTimer ??= setTimeout(() => this.#sendAcks(), ACK_MS);
    this.#ackTimer.unref();
  }

  /** The run is over and acknowledged: the keeper forgets it. */
  retire(run_id: string): void {
    this.#sendAcks();
    this.#sinks.delete(run_id);
    this.command({ verb: "retire", run_id }, { waitsForStream: true }).catch(
      () => {},
    ); // it does not have it
  }

  /**
   * Opens a connection to a TCP port of the run's place. It ends with the stream.
   * Rejects with the keeper's failure, or with a `KeeperUnreachable`: at once if
   * the stream is missing, or if the keeper is too old.
   */
  async forward(run_id: string, port: number): Promise<Duplex> {
    const forwards = this.#forwards;
    if (!this.#isAttached || forwards === undefined)
      throw new KeeperUnreachable(this.#whyUnreachable);
    this.#assertVersion2("forward ports");
    return forwards.open(run_id, port);
  }

  /** Changes limits of a kernel that runs. Rejects as `command` does, or with a `KeeperUnreachable` if the keeper is too old. */
  async resize(run_id: string, limits: LimitsChange): Promise<void> {
    this.#assertVersion2("change the limits of a kernel that runs");
    await this.command({ verb: "resize", run_id, limits });
  }

  /** Lets go: the keeper and its kernels stay. */
  close(): void {
    this.#sendAcks();
    this.#finish("the server has let go of it", "closed");
  }

  async #attach(): Promise<void> {
    try {
      const duplex = await this.#options.connect();
      if (this.#over !== undefined) {
        duplex.destroy();
        return;
      }
      const { secret, epoch, ping_ms } = this.#options;
      const stream = new FrameStream(duplex, {
        onFrame: (frame) => this.#received(stream, frame),
        onClose: (why) => this.#lost(stream, why),
        ping_ms,
      });
      this.#stream = stream;
      this.#forwards = new Forwards({
        stream,
        wake: () => void this.#sendForwarded(),
      });
      stream.accept(FRAME_LIMIT);
      const hello: ServerHello = {
        ...versions,
        secret,
        epoch,
        server: this.#name,
        ...this.#options.times,
      };
      stream.write(jsonFrame(frameKinds.hello, hello));
      setTimeout(() => {
        if (this.#stream === stream && !this.#isAttached) {
          stream.close("the keeper has not said hello");
        }
      }, HELLO_TIMEOUT_MS).unref();
    } catch (error) {
      this.#retry(error instanceof Error ? error.message : "an error");
    }
  }

  /** keeper → server. The frame's body is valid during the call only, unless it is its own. */
  #received(stream: FrameStream, frame: Frame): void {
    const { kind, body } = frame;
    if (!this.#isAttached) {
      if (kind !== frameKinds.hello) throw new StreamError("no hello came");
      this.#welcomed(stream, objectOf(body));
      return;
    }
    switch (kind) {
      case frameKinds.event: {
        const event = eventIn(frame);
        this.#sinks.get(event.run_id)?.event(event);
        return;
      }
      case frameKinds.gap: {
        const run_id = body.toString("hex", 0, 16);
        this.#sinks.get(run_id)?.gap(readU64(body, 16), readU64(body, 24));
        return;
      }
      case frameKinds.done: {
        const { id, result } = objectOf(body);
        this.#settled(String(id))?.resolve(result);
        return;
      }
      case frameKinds.failed: {
        const { id, error } = objectOf(body);
        this.#settled(String(id))?.reject(fromWire(error as WireError));
        return;
      }
      case frameKinds.displaced:
        this.#finish("another server has taken its keeper", "displaced");
        return;
    }
    if (this.#forwards?.received(frame) === true) return;
    throw new StreamError("a frame of an unknown kind");
  }

  #welcomed(
    stream: FrameStream,
    hello: Partial<KeeperHello> & Partial<Refused>,
  ): void {
    const { refused, runs = [] } = hello;
    const isWrong = refused === undefined && !isCompatible(hello);
    if (refused !== undefined || isWrong) {
      this.#finish(REFUSALS[refused ?? "version"](hello), "displaced");
      return;
    }
    this.#isAttached = true;
    this.#keeper = hello;
    this.#failures = 0;
    for (const timer of this.#detachTimers.splice(0)) clearTimeout(timer);
    this.#runs = new Map(runs.map((facts) => [facts.run_id, facts]));
    this.#first?.resolve();
    this.#first = undefined;
    stream.together(() => {
      for (const { frame } of this.#pending.values()) stream.write(frame);
      for (const sink of this.#sinks.values()) {
        if (!sink.isHeld) this.follow(sink);
      }
    });
    this.#sendAcks();
    for (const sink of [...this.#sinks.values()]) {
      sink.attached(this.#runs.get(sink.run_id));
    }
  }

  #lost(stream: FrameStream, why: string): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    const wasAttached = this.#isAttached;
    this.#isAttached = false;
    this.#closeForwards("the stream to its keeper was lost");
    if (this.#over !== undefined) return;
    if (wasAttached) {
      this.#options.log.warn(`The stream to the keeper was lost: ${why}`);
      this.#detachedAt = performance.now();
      this.#detachTimers = [
        setTimeout(() => {
          for (const sink of [...this.#sinks.values()]) sink.detached();
        }, DETACHED_MS),
        setTimeout(() => this.#rejectShortWaits(), COMMAND_WAIT_MS),
      ];
      for (const timer of this.#detachTimers) timer.unref();
    }
    this.#retry(why);
  }

  #retry(why: string): void {
    if (this.#over !== undefined) return;
    const gone = this.#options.whyGone();
    if (gone !== undefined) {
      this.#finish(gone, "gone");
      this.#options.onGone?.(gone);
      return;
    }
    const wait_ms = Math.min(RETRY_MS * 2 ** this.#failures, LONGEST_RETRY_MS);
    this.#failures += 1;
    this.#options.log.debug(`The keeper is attached to again: ${why}`);
    this.#retryTimer = setTimeout(() => void this.#attach(), wait_ms);
  }

  /** It will not attach any more. */
  #finish(why: string, how: "closed" | "displaced" | "gone"): void {
    if (this.#over !== undefined) return;
    this.#over = why;
    this.#isGone = how === "gone";
    const stream = this.#stream;
    this.#stream = undefined;
    this.#isAttached = false;
    this.#closeForwards(why);
    stream?.end(why);
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#ackTimer);
    for (const timer of this.#detachTimers) clearTimeout(timer);
    const error = new KeeperUnreachable(why);
    this.#first?.reject(error);
    for (const id of [...this.#pending.keys()])
      this.#settled(id)?.reject(error);
    for (const sink of [...this.#sinks.values()]) {
      if (how === "gone") sink.gone(why);
      else if (how === "displaced") sink.detached();
    }
  }

  #nextId(): string {
    this.#commands += 1;
    return `${this.#name}-${this.#commands}`;
  }

  #submit(id: string, pending: Pending): void {
    this.#pending.set(id, pending);
    this.#write(pending.frame);
  }

  #settled(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    this.#bytes -= pending?.bytes ?? 0;
    return pending;
  }

  #write(frame: readonly Buffer[]): void {
    if (this.#isAttached) this.#stream?.write(frame);
  }

  #sendAcks(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    if (!this.#isAttached) return;
    for (const [run_id, number] of this.#acks) {
      this.#write(numberedFrame(frameKinds.ack, run_id, number));
    }
    this.#acks.clear();
  }

  #closeForwards(why: string): void {
    this.#forwards?.close(new KeeperUnreachable(why));
    this.#forwards = undefined;
  }

  /** Sends what was written to forwarded connections, in turns that let commands and messages pass. */
  async #sendForwarded(): Promise<void> {
    if (this.#isForwarding) return;
    this.#isForwarding = true;
    while (this.#forwards?.isReady === true) await this.#forwards.turn();
    this.#isForwarding = false;
  }

  /** Throws a `KeeperUnreachable` if the keeper is of the protocol's first version. */
  #assertVersion2(what: string): void {
    if (commonProtocol(this.#keeper) >= 2) return;
    const { version = "unknown" } = this.#keeper;
    throw new KeeperUnreachable(
      `its keeper (version ${version}) is older than this server and cannot ${what}; when all its kernels have ended, the next start of the server brings a newer keeper`,
      { isOld: true },
    );
  }

  get #isDetachedForLong(): boolean {
    const age_ms = performance.now() - this.#detachedAt;
    return !this.#isAttached && age_ms > COMMAND_WAIT_MS;
  }

  get #whyUnreachable(): string {
    const { whyLate = "the stream to its keeper is lost" } = this.#options;
    return this.#over ?? whyLate;
  }

  #rejectShortWaits(): void {
    const error = new KeeperUnreachable(this.#whyUnreachable);
    for (const [id, { waitsForStream }] of [...this.#pending]) {
      if (!waitsForStream) this.#settled(id)?.reject(error);
    }
  }
}

/** Why the keeper has not accepted this server. */
const REFUSALS: Readonly<
  Record<
    Refused["refused"],
    (hello: Partial<KeeperHello> & Partial<Refused>) => string
  >
> = {
  version: ({ version = "another program" }) =>
    `its keeper is of ${version}, whose protocol this server does not speak`,
  secret: () => "its keeper belongs to another state directory",
  displaced: ({ epoch }) =>
    `another server has its keeper (with epoch ${epoch ?? "unknown"})`,
};

function numberedFrame(
  kind: number,
  run_id: string,
  number: number,
): readonly Buffer[] {
  const bytes = Buffer.alloc(24);
  bytes.write(run_id, 0, "hex");
  writeU64(bytes, 16, number);
  return frameOf(kind, bytes);
}
