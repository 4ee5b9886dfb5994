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
  weight,
  type WorkerRequest,
  type Question,
  type WorkerEvent,
  type WorkerData,
} from "./protocol.ts";

/** How long stream text waits for more text of the same stream. */
const GATHER_MS = 10;
const GATHER_LIMIT = 64 * 1024; // characters

type Stream = Extract<WorkerEvent, { kind: "stream" }>;
type SaidByCell = Stream | Extract<WorkerEvent, { kind: "publish" }>;

/** The number of past requests whose background tasks may still send output. */
const REMEMBERED = 1_000;

export class Python {
  /** Resolves with the version when Python answers. Rejects if Python cannot start or ends. */
  readonly ready: Promise<string>;
  /** Rejects when the thread ends: Python has crashed. */
  readonly died: Promise<never>;
  readonly #worker: Worker;
  readonly #memory = new SharedArrayBuffer(MEMORY_BYTES);
  readonly #words = new Int32Array(this.#memory);
  readonly #answers = new MessageChannel();
  readonly #asked = new Map<number, (content: Content) => void>();
  readonly #ios = new Map<number, Io>();
  #lastId = 0;
  #isReady: (version: string) => void = () => {};
  #ending = false;
  #gathered: Stream | undefined;
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
    this.#worker.on("message", (said: WorkerEvent) => this.#hear(said));
  }

  /** Resolves with the content of the reply. All output, before and after the reply, has `io`'s request as its parent. */
  async ask(kind: Question, content: unknown, io: Io): Promise<Content> {
    await this.ready;
    io.signal.throwIfAborted(); // an interrupt before Python got the request applies to this request
    const id = (this.#lastId += 1);
    this.#remember(id, io);
    const answered = new Promise<Content>((resolve) =>
      this.#asked.set(id, resolve),
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

  #post(asked: WorkerRequest): void {
    this.#worker.postMessage(asked);
  }

  #hear(said: WorkerEvent): void {
    if (said.kind === "stream") {
      this.#gather(said);
      return;
    }
    this.#letGo();
    switch (said.kind) {
      case "ready":
        this.#isReady(said.version);
        break;
      case "publish":
        void this.#pass(said, (io) =>
          io.publish(said.msg_type, JSON.parse(said.content), {
            metadata: JSON.parse(said.metadata),
            buffers: said.buffers,
          }),
        );
        break;
      case "input":
        void this.#input(said);
        break;
      case "done":
        this.#asked.get(said.id)?.(JSON.parse(said.content) as Content);
        this.#asked.delete(said.id);
        break;
    }
  }

  #gather(said: Stream): void {
    const before = this.#gathered;
    const more = before?.id === said.id && before.name === said.name;
    if (!more) this.#letGo();
    const text = more ? before.text + said.text : said.text;
    this.#gathered = { ...said, text };
    if (text.length >= GATHER_LIMIT) this.#letGo();
    else this.#timer ??= setTimeout(() => this.#letGo(), GATHER_MS);
  }

  #letGo(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const said = this.#gathered;
    if (said === undefined) return;
    this.#gathered = undefined;
    void this.#pass(said, (io) => io.stream(said.name, said.text));
  }

  /** Queues the event at once, so that the order stays. An event counts as read when the sockets have accepted it. */
  async #pass(
    said: SaidByCell,
    publish: (io: Io) => Promise<void>,
  ): Promise<void> {
    const io = this.#ios.get(said.id);
    if (io !== undefined) await publish(io);
    Atomics.sub(this.#words, UNREAD, weight(said));
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
    this.#ios.delete(id - REMEMBERED);
  }
}

function toKernelError(reply: Content): KernelError {
  return new KernelError(
    String(reply["ename"]),
    String(reply["evalue"]),
    reply["traceback"] as string[],
  );
}
