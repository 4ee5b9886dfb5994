/**
 * Python, as the main thread sees it: a worker that answers requests and sends
 * events while it works.
 *
 * Stream text is collected for a moment, so that ten thousand printed lines
 * become a few messages. Before any other event the collected text is sent, so
 * that the order stays.
 */
import { MessageChannel, Worker } from "node:worker_threads";
import { KernelError, type Content, type Io } from "../io.ts";
import {
  MEMORY_BYTES,
  SIGINT,
  UNREAD,
  WAKE,
  unreadBytes,
  type WorkerRequest,
  type RequestKind,
  type WorkerEvent,
  type WorkerData,
} from "./protocol.ts";

/** How long stream text waits for more text of the same stream. */
const COLLECT_MS = 10;
const COLLECT_LIMIT = 64 * 1024; // characters

type Stream = Extract<WorkerEvent, { kind: "stream" }>;
type CellOutput = Stream | Extract<WorkerEvent, { kind: "publish" }>;

/** The number of past requests whose background tasks may still send output. */
const MAX_REMEMBERED = 1_000;

export class Python {
  /** Resolves with the version when Python answers. Rejects if Python cannot start or ends. */
  readonly ready: Promise<string>;
  /** Rejects when the thread ends: Python has crashed. */
  readonly died: Promise<never>;
  readonly #worker: Worker;
  readonly #memory = new SharedArrayBuffer(MEMORY_BYTES);
  readonly #words = new Int32Array(this.#memory);
  readonly #answers = new MessageChannel();
  readonly #pendingReplies = new Map<number, (content: Content) => void>();
  readonly #ios = new Map<number, Io>();
  #lastId = 0;
  #isReady: (version: string) => void = () => {};
  #ending = false;
  #collected: Stream | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(program: URL) {
    const workerData: WorkerData = {
      memory: this.#memory,
      answers: this.#answers.port2,
    };
    this.#worker = new Worker(program, {
      workerData,
      transferList: [this.#answers.port2],
    });
    this.died = new Promise((_, reject) => {
      this.#worker.once("error", reject);
      this.#worker.once("exit", (code) => {
        if (!this.#ending)
          reject(new Error(`Python's thread ended with ${code}`));
      });
    });
    this.ready = Promise.race([
      new Promise<string>((resolve) => (this.#isReady = resolve)),
      this.died,
    ]);
    this.#worker.on("message", (event: WorkerEvent) => this.#onEvent(event));
  }

  /** Resolves with the content of the reply. All output, before and after the reply, has `io`'s request as its parent. */
  async request(kind: RequestKind, content: unknown, io: Io): Promise<Content> {
    await this.ready;
    io.signal.throwIfAborted(); // an interrupt before Python got the request applies to this request
    const id = (this.#lastId += 1);
    this.#remember(id, io);
    const answered = new Promise<Content>((resolve) =>
      this.#pendingReplies.set(id, resolve),
    );
    if (kind === "execute" || kind === "comm")
      Atomics.store(this.#signal, 0, 0); // removes an interrupt of the previous request
    const { buffers } = io.request;
    this.#post({ kind, id, content: JSON.stringify(content), buffers });
    const reply = await answered;
    if (reply["status"] === "error") throw toKernelError(reply);
    return reply;
  }

  /** Interrupts Python: between bytecodes, in a sleep, in `input()`, at an `await`. */
  interrupt(): void {
    Atomics.store(this.#signal, 0, SIGINT);
    this.#wake();
    this.#post({ kind: "interrupt" });
  }

  async end(): Promise<void> {
    this.#ending = true;
    clearTimeout(this.#timer);
    this.#answers.port1.close();
    await this.#worker.terminate();
  }

  get #signal(): Uint8Array {
    return new Uint8Array(this.#memory, 0, 1);
  }

  #post(request: WorkerRequest): void {
    this.#worker.postMessage(request);
  }

  #onEvent(event: WorkerEvent): void {
    if (event.kind === "stream") {
      this.#collect(event);
      return;
    }
    this.#flush();
    switch (event.kind) {
      case "ready":
        this.#isReady(event.version);
        break;
      case "publish":
        void this.#passOn(event, (io) =>
          io.publish(event.msg_type, JSON.parse(event.content), {
            metadata: JSON.parse(event.metadata),
            buffers: event.buffers,
          }),
        );
        break;
      case "input":
        void this.#input(event);
        break;
      case "done":
        this.#pendingReplies.get(event.id)?.(
          JSON.parse(event.content) as Content,
        );
        this.#pendingReplies.delete(event.id);
        break;
    }
  }

  #collect(event: Stream): void {
    const before = this.#collected;
    const more = before?.id === event.id && before.name === event.name;
    if (!more) this.#flush();
    const text = more ? before.text + event.text : event.text;
    this.#collected = { ...event, text };
    if (text.length >= COLLECT_LIMIT) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), COLLECT_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const event = this.#collected;
    if (event === undefined) return;
    this.#collected = undefined;
    void this.#passOn(event, (io) => io.stream(event.name, event.text));
  }

  /** Queues the event at once, so that the order stays. An event counts as read when the sockets have accepted it. */
  async #passOn(
    event: CellOutput,
    publish: (io: Io) => Promise<void>,
  ): Promise<void> {
    const io = this.#ios.get(event.id);
    if (io !== undefined) await publish(io);
    Atomics.sub(this.#words, UNREAD, unreadBytes(event));
    this.#wake();
  }

  async #input({
    id,
    prompt,
    password,
  }: Extract<WorkerEvent, { kind: "input" }>): Promise<void> {
    try {
      const value = await this.#ios.get(id)?.input(prompt, password);
      this.#answers.port1.postMessage(value ?? "");
      this.#wake();
    } catch {
      // the request was interrupted; Python gets the interrupt by its signal
    }
  }

  #wake(): void {
    Atomics.add(this.#words, WAKE, 1);
    Atomics.notify(this.#words, WAKE);
  }

  #remember(id: number, io: Io): void {
    this.#ios.set(id, io);
    this.#ios.delete(id - MAX_REMEMBERED);
  }
}

function toKernelError(reply: Content): KernelError {
  return new KernelError(
    String(reply["ename"]),
    String(reply["evalue"]),
    reply["traceback"] as string[],
  );
}
