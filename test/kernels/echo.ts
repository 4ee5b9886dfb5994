/**
 * The kernel that does as it is told: the first word of the code is a command,
 * and what is no command comes back as a stream and as the result.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { contentOf } from "../../src/jupyter/message.ts";
import { KernelError, type ExecuteRequest, type Io } from "../../kernels/io.ts";
import type { Answer, Handlers } from "../../kernels/kernel.ts";
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

type Command = (rest: string, io: Io) => Promise<unknown>;

const commands: Readonly<Record<string, Command>> = {
  /** N numbered messages on stdout, one each. */
  async flood(n, io) {
    for (let i = 1; i <= Number(n); i += 1) {
      await io.stream("stdout", `${i}\n`);
      if (i % 500 === 0) await turn(); // so that the other sockets are served
    }
  },
  /** Milliseconds; an interrupt ends it. */
  async sleep(ms, io) {
    await sleep(Number(ms), undefined, { signal: io.signal });
    await io.result({ "text/plain": `slept ${ms}` });
  },
  /** The rest is the prompt. */
  async input(prompt, io) {
    await io.result({ "text/plain": await io.input(prompt) });
  },
  async password(prompt, io) {
    await io.result({ "text/plain": await io.input(prompt, true) });
  },
  /** A display with three buffers, one of them empty. */
  buffers: (_, io) =>
    io.display(
      { "text/plain": "three buffers" },
      {
        buffers: [
          Buffer.from([0, 1, 2, 255]),
          new Uint8Array(),
          Buffer.from("end"),
        ],
      },
    ),
  /** One buffer of that many bytes. */
  large: (size, io) =>
    io.display(
      { "text/plain": `${size} bytes` },
      { buffers: [Buffer.alloc(Number(size), 7)] },
    ),
  error(text) {
    throw new KernelError("EchoError", text === "" ? "as told" : text, [
      "Traceback:",
      "EchoError",
    ]);
  },
  exit: (code) => process.exit(Number(code)),
  async crash() {
    process.kill(process.pid, "SIGSEGV");
    await sleep(10_000);
  },
  display: (text, io) =>
    io.display(
      { "text/plain": text, "text/html": `<b>${text}</b>` },
      { display_id: "the-display" },
    ),
  /** Changes what `display` showed. */
  update: (text, io) => io.update("the-display", { "text/plain": text }),
  clear: (_, io) => io.clear(true),
  stderr: (text, io) => io.stream("stderr", text),
  /** On the process's own stdout, past the protocol. */
  async print(text) {
    await new Promise<unknown>((resolve) =>
      process.stdout.write(`${text}\n`, resolve),
    );
  },
  env: (name, io) => io.result({ "text/plain": process.env[name] ?? "unset" }),
  cwd: (_, io) => io.result({ "text/plain": process.cwd() }),
  pid: (_, io) => io.result({ "text/plain": String(process.pid) }),
  /** A comm of the kernel's making. */
  comm: (target_name, io) =>
    io.comm("comm_open", { comm_id: "echo-comm", target_name, data: {} }),
  /** Content that JSON.parse would change: a big integer, and keys in an odd order. */
  odd: (_, io) =>
    io.publish("display_data", {
      metadata: {},
      data: { "text/plain": "9007199254740993" },
      "2": 0,
      "1": 0,
    }),
};

const handlers: Handlers = {
  async execute({ code, user_expressions }, io): Promise<Answer> {
    await run(code, io);
    const evaluated = Object.entries(user_expressions).map(([name, text]) => [
      name,
      { status: "ok", data: { "text/plain": text }, metadata: {} },
    ]);
    return {
      user_expressions: Object.fromEntries(evaluated) as Record<
        string,
        unknown
      >,
    };
  },
  complete: ({ code, cursor_pos }) => {
    const text = Array.from(String(code)).slice(0, Number(cursor_pos)).join("");
    const word = /\S*$/.exec(text)?.[0] ?? "";
    return {
      matches: Object.keys(commands).filter((name) => name.startsWith(word)),
      cursor_start: Number(cursor_pos) - Array.from(word).length,
      cursor_end: cursor_pos,
      metadata: {},
    };
  },
  inspect: ({ code }) => ({
    found: String(code) in commands,
    data: { "text/plain": `the command ${String(code)}` },
    metadata: {},
  }),
  is_complete: ({ code }) =>
    String(code).endsWith("\\")
      ? { status: "incomplete", indent: "  " }
      : { status: "complete" },
  comm_info: () => ({ comms: {} }),
  /** What comes by a comm goes back by it, buffers included. */
  comm: async (content, io) => {
    const { msg_type } = io.request.header;
    if (msg_type === "comm_msg")
      await io.comm("comm_msg", content, io.request.buffers);
  },
  /** A request that no specification knows is answered with what it said. */
  other: (_, io) => ({ echo: contentOf(io.request) }),
};

async function run(code: ExecuteRequest["code"], io: Io): Promise<void> {
  const [, word = "", rest = ""] = /^(\S+) ?([^]*)$/.exec(code) ?? [];
  if (Object.hasOwn(commands, word)) {
    await commands[word]?.(rest, io);
    return;
  }
  if (code === "") return;
  await io.stream("stdout", code);
  await io.result({ "text/plain": code });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

await runKernel({
  kernelInfo: kernelInfo("echo"),
  iopubLimit: 0, // what is missing of a flood was lost at the other end
  handlers,
});
