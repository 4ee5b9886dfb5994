/**
 * The echo kernel as a script: the first word of the code is a command, and
 * other code is returned as a stream and as the result. As a process it is
 * `echo`; tests that need no process run it in the server's memory.
 */
import {
  answer,
  clear,
  commMsg,
  commOpen,
  display,
  error,
  type ExecuteCall,
  exit,
  flood,
  input,
  password,
  print,
  result,
  publish,
  type Step,
  stream,
  update,
  wait,
} from "../../testing/steps.ts";
import { mockKernel } from "../../testing/mock-kernel.ts";
import { kernelInfo } from "./kernel-info.ts";

type Command = (rest: string, call: ExecuteCall) => Step | readonly Step[];

const commands: Readonly<Record<string, Command>> = {
  /** N numbered messages on stdout, one each. */
  flood: (n) => flood({ count: Number(n) }),
  /** Milliseconds; an interrupt ends it. */
  sleep: (ms) => [wait(Number(ms)), result(`slept ${ms}`)],
  /** The rest is the prompt. */
  input: (prompt) => input(prompt, (value) => result(value)),
  password: (prompt) => password(prompt, (value) => result(value)),
  /** A display with three buffers, one of them empty. */
  buffers: () =>
    display("three buffers", {
      buffers: [
        Buffer.from([0, 1, 2, 255]),
        new Uint8Array(),
        Buffer.from("end"),
      ],
    }),
  /** One buffer of that many bytes. */
  large: (size) =>
    display(`${size} bytes`, { buffers: [Buffer.alloc(Number(size), 7)] }),
  error: (text) =>
    error("EchoError", text === "" ? "as told" : text, [
      "Traceback:",
      "EchoError",
    ]),
  exit: (code) => exit(Number(code)),
  crash: () => exit({ signal: "SIGSEGV" }),
  display: (text) =>
    display(
      { "text/plain": text, "text/html": `<b>${text}</b>` },
      { display_id: "the-display" },
    ),
  /** Updates the display of `display`. */
  update: (text) => update("the-display", text),
  clear: () => clear({ wait: true }),
  stderr: (text) => stream(text, "stderr"),
  /** Prints on the process's own stdout, outside of the protocol. */
  print: (text) => print(`${text}\n`),
  env: (name, { env }) => result(env[name] ?? "unset"),
  cwd: () => result(process.cwd()),
  pid: () => result(String(process.pid)),
  /** Opens a comm from the kernel. */
  comm: (target_name) => commOpen("echo-comm", target_name),
  /** Content that JSON.parse would change: a big integer, and keys in an unusual order. */
  odd: () =>
    publish("display_data", {
      metadata: {},
      data: { "text/plain": "9007199254740993" },
      "2": 0,
      "1": 0,
    }),
};

const { language_info, implementation, implementation_version, banner } =
  kernelInfo("echo");

export const echo = mockKernel({
  language: { ...language_info },
  kernel_info: { implementation, implementation_version, banner },
  on: [[/^[^]*$/, obey]],
  complete: ({ code, cursor_pos }) => {
    const text = Array.from(code).slice(0, cursor_pos).join("");
    const word = /\S*$/.exec(text)?.[0] ?? "";
    return {
      matches: Object.keys(commands).filter((name) => name.startsWith(word)),
      cursor_start: cursor_pos - Array.from(word).length,
      cursor_end: cursor_pos,
      metadata: {},
    };
  },
  inspect: ({ code }) => ({
    found: code in commands,
    data: { "text/plain": `the command ${code}` },
    metadata: {},
  }),
  is_complete: (code) =>
    code.endsWith("\\")
      ? { status: "incomplete", indent: "  " }
      : { status: "complete" },
  comm_info: () => ({ comms: {} }),
  comm: {
    /** Messages on a comm are returned on it, with their buffers. */
    "*": ({ msg_type, comm_id, data, buffers }) =>
      msg_type === "comm_msg" ? commMsg(comm_id, data, { buffers }) : [],
  },
  /** A request of an unknown type is answered with its content. */
  other: (_, content) => ({ echo: content }),
  interrupt_mode: "signal",
});

function obey(call: ExecuteCall): Step[] {
  const user_expressions: Record<string, unknown> = {};
  for (const [name, text] of Object.entries(call.user_expressions)) {
    const data = { "text/plain": text };
    user_expressions[name] = { status: "ok", data, metadata: {} };
  }
  return [...outputsOf(call), answer({ user_expressions })];
}

function outputsOf(call: ExecuteCall): readonly Step[] {
  const { code } = call;
  const [, word = "", rest = ""] = /^(\S+) ?([^]*)$/.exec(code) ?? [];
  const command = Object.hasOwn(commands, word) ? commands[word] : undefined;
  if (command !== undefined) return [command(rest, call)].flat();
  if (code === "") return [];
  return [stream(code), result(code)];
}
