/**
 * A session in a test: it sends requests, keeps all events of the session, and
 * can wait for them.
 */
import type { TRPCClient } from "@trpc/client";
import type {
  AppRouter,
  ClientMessage,
  ContentOf,
  KernelInfo,
  OutputOf,
  contract,
} from "../contract/index.ts";
import { Transcript } from "./transcript.ts";

type Executed = OutputOf<typeof contract.sessions.execute.output>;

/** A session in a test: sends requests, and keeps all events in its transcript. */
export class TestSession implements Disposable {
  readonly session_id: string;
  readonly kernel_info: KernelInfo;
  /** All events of the session since its creation; the transcript grows. */
  readonly transcript: Transcript;
  readonly #trpc: TRPCClient<AppRouter>;
  /** Follows the events after the last one. */
  readonly #follow: () => void;
  #unfollow: () => void = () => {};
  #count = 0;

  private constructor(
    trpc: TRPCClient<AppRouter>,
    session_id: string,
    kernel_info: KernelInfo,
  ) {
    this.#trpc = trpc;
    this.session_id = session_id;
    this.kernel_info = kernel_info;
    let last: string | undefined;
    let follow = (): void => {};
    this.transcript = new Transcript((onEvent) => {
      follow = () => {
        const subscription = trpc.sessions.events.subscribe(
          { session_id, ...(last !== undefined && { lastEventId: last }) },
          {
            onData({ id, data }) {
              last = id;
              onEvent(data);
            },
          },
        );
        this.#unfollow = () => subscription.unsubscribe();
      };
      follow();
      return () => this.#unfollow();
    });
    this.#follow = follow;
  }

  static async start(
    trpc: TRPCClient<AppRouter>,
    kernel_name?: string,
    session_id?: string,
  ): Promise<TestSession> {
    const name =
      kernel_name ?? (await trpc.kernelspecs.list.query()).default ?? "";
    const created = await trpc.sessions.create.mutate({
      kernel_name: name,
      ...(session_id !== undefined && { session_id }),
    });
    const info = await trpc.sessions.start.mutate(created);
    return new TestSession(trpc, created.session_id, info);
  }

  /** Runs code until it ends; `input()` is not allowed. */
  execute(code: string): Promise<Executed> {
    return this.#trpc.sessions.execute.mutate({
      session_id: this.session_id,
      code,
    });
  }

  /** Sends code and does not wait for its end; resolves with the `msg_id` of the request. */
  run(code: string, more: Readonly<Record<string, unknown>> = {}) {
    return this.send("shell", "execute_request", {
      code,
      silent: false,
      store_history: true,
      user_expressions: {},
      allow_stdin: true,
      stop_on_error: true,
      ...more,
    });
  }

  /** Answers the open input request. */
  answer(value: string): Promise<string> {
    return this.send("stdin", "input_reply", { status: "ok", value });
  }

  async send(
    channel: ClientMessage["channel"],
    msg_type: string,
    content: Readonly<Record<string, unknown>>,
    buffers: readonly string[] = [],
  ): Promise<string> {
    const msg_id = `${this.session_id}-request-${(this.#count += 1)}`;
    await this.#trpc.sessions.send.mutate({
      session_id: this.session_id,
      channel,
      header: { msg_id, msg_type },
      content,
      buffers: [...buffers],
    });
    return msg_id;
  }

  /** Sends a request and waits for its reply: `request("complete_request", { code, cursor_pos })`. */
  async request<
    T extends
      | "complete"
      | "inspect"
      | "is_complete"
      | "history"
      | "comm_info"
      | "kernel_info",
  >(
    msg_type: `${T}_request`,
    content: Readonly<Record<string, unknown>> = {},
  ): Promise<ContentOf<`${T}_reply`>> {
    const reply = await this.#trpc.sessions.request.mutate({
      session_id: this.session_id,
      msg_type,
      content: { ...content },
    });
    return reply.content as ContentOf<`${T}_reply`>;
  }

  async interrupt(): Promise<void> {
    await this.#trpc.sessions.interrupt.mutate({ session_id: this.session_id });
  }

  async restart(): Promise<void> {
    await this.#trpc.sessions.restart.mutate({ session_id: this.session_id });
  }

  async shutDown(): Promise<void> {
    await this.#trpc.sessions.shutdown.mutate({ session_id: this.session_id });
  }

  /** Goes on after the last event, when the server was restarted. */
  followAgain(): void {
    this.#unfollow();
    this.#follow();
  }

  /** Stops following the session's events. */
  [Symbol.dispose](): void {
    this.transcript[Symbol.dispose]();
  }
}
