/**
 * A recorded session as a kernel: each request is answered with what the
 * recorded kernel answered, message by message, with the new request as parent.
 */
import { KernelError } from "../kernels/io.ts";
import type { Content, Io } from "../kernels/io.ts";
import type { Kernel, KernelDefinition } from "../kernels/kernel.ts";
import { contentOf } from "../src/jupyter/message.ts";
import type { Clock } from "./clock.ts";
import type { RecordedMessage, Recording } from "./recording.ts";
import type { Host } from "./scripted.ts";

type Attend = NonNullable<KernelDefinition["attend"]>;

/** What was said to one request. */
interface Exchange {
  readonly msg_type: string;
  /** Of an execution. */
  readonly code: string | undefined;
  readonly comm_id: string | undefined;
  readonly messages: readonly RecordedMessage[];
  isUsed: boolean;
}

export function attendFrom(
  recording: Recording,
  { clock, host }: { readonly clock: Clock; readonly host: Host },
): Attend {
  const { prologue, exchanges } = exchangesOf(recording);
  return async (request, io, kernel) => {
    for (const message of prologue.splice(0)) await say(message, io, kernel);
    const { msg_type } = request.header;
    const content = contentIn(request);
    const exchange = take(exchanges, msg_type, content);
    if (exchange === undefined) return false;
    if (msg_type === "execute_request") io.begin(content);
    try {
      const speed = recording.speed ?? Infinity;
      await repeat(exchange, { io, kernel, clock, speed });
    } catch (error) {
      await cutShort(io, error);
    }
    const { ended } = recording;
    if (ended !== undefined && exchanges.every(({ isUsed }) => isUsed)) {
      await host.exit({
        exit_code: ended.exit_code,
        ...(ended.signal !== null && { signal: ended.signal }),
      });
    }
    return true;
  };
}

/** In the order in which the requests were first answered; and what was said before any. */
function exchangesOf({ messages }: Recording): {
  readonly prologue: RecordedMessage[];
  readonly exchanges: readonly Exchange[];
} {
  const byParent = new Map<string, RecordedMessage[]>();
  const prologue: RecordedMessage[] = [];
  let present = prologue;
  for (const message of messages) {
    const id = message.parent_header?.msg_id;
    if (id === undefined) {
      present.push(message); // nobody's: it is said again when it was said
      continue;
    }
    present = byParent.get(id) ?? [];
    byParent.set(id, present);
    present.push(message);
  }
  const exchanges = [...byParent.values()].map((said) => {
    const input = said.find(
      ({ header }) => header.msg_type === "execute_input",
    );
    return {
      msg_type: said[0]?.parent_header?.msg_type ?? "",
      code: input === undefined ? undefined : String(input.content["code"]),
      comm_id: commOf(said),
      messages: said,
      isUsed: false,
    };
  });
  return { prologue, exchanges };
}

function commOf(messages: readonly RecordedMessage[]): string | undefined {
  const said = messages.find(({ header }) =>
    header.msg_type.startsWith("comm_"),
  );
  const comm_id = said?.content["comm_id"];
  return typeof comm_id === "string" ? comm_id : undefined;
}

/** The next one that was not repeated yet: of an execution, with the same code; of a comm, the same comm where that is known. */
function take(
  exchanges: readonly Exchange[],
  msg_type: string,
  content: Content,
): Exchange | undefined {
  const found = exchanges.find(
    (exchange) =>
      !exchange.isUsed &&
      exchange.msg_type === msg_type &&
      (exchange.code === undefined || exchange.code === content["code"]) &&
      (exchange.comm_id === undefined ||
        !msg_type.startsWith("comm_") ||
        exchange.comm_id === content["comm_id"]),
  );
  if (found !== undefined) found.isUsed = true;
  return found;
}

async function repeat(
  { messages }: Exchange,
  {
    io,
    kernel,
    clock,
    speed,
  }: {
    readonly io: Io;
    readonly kernel: Kernel;
    readonly clock: Clock;
    readonly speed: number;
  },
): Promise<void> {
  const first = dateOf(messages[0]);
  const began = clock.now();
  for (const message of messages) {
    const due = (dateOf(message) - first) / speed;
    const left = due - (clock.now() - began);
    if (left > 0) await clock.sleep(left, io.signal);
    io.signal.throwIfAborted();
    await say(message, io, kernel);
  }
}

async function say(
  message: RecordedMessage,
  io: Io,
  kernel: Kernel,
): Promise<void> {
  const { channel, header, content, metadata } = message;
  const extra = { metadata, buffers: message.buffers.map(fromBase64) };
  if (channel === "iopub") {
    const speaker = message.parent_header === null ? kernel : io;
    await speaker.publish(header.msg_type, content, extra);
  } else if (channel !== "stdin") await io.reply(content, extra);
  else if (header.msg_type === "input_request") {
    const { prompt, password } = content;
    await io.input(String(prompt), password === true);
  }
}

/** The request was interrupted while it was repeated: it ends as executions do. */
async function cutShort(io: Io, error: unknown): Promise<void> {
  const { ename, evalue, traceback } =
    error instanceof KernelError
      ? error
      : new KernelError("ReplayError", String(error));
  const failed = { ename, evalue, traceback };
  await io.publish("error", failed);
  await io.reply({ status: "error", execution_count: null, ...failed });
  await io.publish("status", { execution_state: "idle" });
}

function dateOf(message: RecordedMessage | undefined): number {
  const time = Date.parse(message?.header.date ?? "");
  return Number.isNaN(time) ? 0 : time;
}

function contentIn(request: Parameters<Attend>[0]): Content {
  try {
    return (contentOf(request) ?? {}) as Content;
  } catch {
    return {}; // no JSON
  }
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
