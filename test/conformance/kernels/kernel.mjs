// A small Jupyter kernel that does what the code text says, and one vice per mode. It needs Node and npm
// `zeromq` only. Started as: node kernel.mjs MODE CONNECTION_FILE [ARGUMENT...]
//
//   obedient     answers everything; the code is a list of commands, one a line (see `commands`)
//   stubborn     obedient, but hears no shutdown_request and no SIGTERM, SIGINT, SIGHUP
//   slow         obedient, but binds its ports a second and a half late
//   mute         binds its ports, beats its heart, answers no request
//   deaf         never reads its connection file
//   stillborn    says ARGUMENT[1] lines on each standard stream, last words, and exits with ARGUMENT[0]
//   struck       dies of SIGKILL at once
//   registering  picks its own ports and registers them (full handshake_request message, REQ socket)
//   registering-plain     the same as the protocol 5.6 text has it: one content frame, ports as strings
//   registering-garbage   sends something that is no message
//   registering-othertype sends a well-formed message of another type
//   registering-unsigned  leaves the signature empty
//   registering-missigned signs with another key
//
// No kernel outlives LONGEST_LIFE_MS, whatever happens to who started it.

import { spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { existsSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const LONGEST_LIFE_MS = 900_000;
setTimeout(() => process.exit(99), LONGEST_LIFE_MS).unref();

const [mode = "obedient", file = "", ...rest] = process.argv.slice(2);
const DELIMITER = "<IDS|MSG>";
const run = randomUUID();
let running; // AbortController of the execution under way
let input; // resolves with the answer to an input_request
let count = 0;
const received = []; // msg_id of every execute_request, in order

if (mode === "stillborn") {
  for (let line = 1; line <= Number(rest[1] ?? 1); line += 1) {
    writeSync(1, `stillborn out ${line}\n`);
    writeSync(2, `stillborn err ${line}\n`);
  }
  writeSync(2, "last words");
  process.exit(Number(rest[0] ?? 3));
}
if (mode === "struck") process.kill(process.pid, "SIGKILL");
if (mode === "deaf") await sleep(LONGEST_LIFE_MS);
if (mode === "slow") await sleep(1_500);

process.on("SIGINT", () => running?.abort());
if (mode === "stubborn")
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => {});

const { Dealer, Publisher, Reply, Request, Router } = await import("zeromq");
const info = JSON.parse(readFileSync(file, "utf8"));
const sockets = {
  shell: new Router(),
  control: new Router(),
  stdin: new Router(),
  iopub: new Publisher({ sendHighWaterMark: 0 }),
  hb: new Reply(),
};
const lines = new Map(); // one sender at a time for each socket
const ports = {};
for (const [name, socket] of Object.entries(sockets)) {
  const wanted = info[`${name}_port`] ?? "*";
  // As Jupyter's own kernels do; Kallichore asks for TCP only.
  if (info.transport === "ipc") {
    await socket.bind(`ipc://${info.ip}-${wanted}`);
    continue;
  }
  await socket.bind(`tcp://127.0.0.1:${wanted}`);
  ports[`${name}_port`] = Number(socket.lastEndpoint.split(":").at(-1));
}
if (mode.startsWith("registering")) await register();

const commands = {
  print: (text, message) => stream(`${text}\n`, message),
  result: (text, message) => result(text, message),
  error: (text) => {
    throw new Error(text);
  },
  sleep: (text, _message, signal) =>
    sleep(Number(text) * 1_000, undefined, { signal }),
  // Blocks the event loop, the heartbeat too.
  burn: (text) => {
    const end = Date.now() + Number(text) * 1_000;
    while (Date.now() < end);
  },
  wait: async (text, _message, signal) => {
    while (!existsSync(text)) await sleep(20, undefined, { signal });
  },
  touch: (text) => writeFileSync(text, ""),
  input: async (prompt, message) => {
    const answered = new Promise((resolve) => (input = resolve));
    await send("stdin", message, "input_request", {
      content: { prompt, password: false },
    });
    await result(await answered, message);
  },
  // flood N BYTES: N numbered stream messages, as fast as they go.
  flood: async (text, message) => {
    const [n = 0, bytes = 0] = text.split(" ").map(Number);
    const padding = "x".repeat(bytes);
    for (let i = 0; i < n; i += 1) {
      await stream(`${i} ${padding}\n`, message);
      if (i % 100 === 99) await sleep(0);
    }
  },
  // pour SECONDS BYTES: stream messages for that long.
  pour: async (text, message, signal) => {
    const [seconds = 0, bytes = 0] = text.split(" ").map(Number);
    const end = Date.now() + seconds * 1_000;
    const padding = "x".repeat(bytes);
    for (let i = 0; Date.now() < end; i += 1) {
      signal.throwIfAborted();
      await stream(`${i} ${padding}\n`, message);
      if (i % 50 === 49) await sleep(1);
    }
  },
  raw: (text, message) => send("iopub", message, "display_data", { raw: text }),
  orphan: async () => {
    await publish("status", { execution_state: "busy" });
    await publish("status", { execution_state: "idle" });
    await publish("stream", { name: "stdout", text: "orphan\n" });
  },
  unsigned: (text, message) =>
    send("iopub", message, "stream", {
      content: { name: "stdout", text },
      signature: "",
    }),
  stdout: (text) => void writeSync(1, `${text}\n`),
  stderr: (text) => void writeSync(2, `${text}\n`),
  // Bytes that are no UTF-8, as an odd locale would print them.
  latin: () => void writeSync(1, Buffer.from([0x63, 0x61, 0x66, 0xe9, 0x0a])),
  exit: (text) => leave(Number(text)),
  chdir: (text) => process.chdir(text),
  spawn: async (text, message) => {
    const child = spawn("sleep", ["300"], {
      detached: text === "detached",
      stdio: "ignore",
    });
    await result(String(child.pid), message);
  },
  env: (text, message) =>
    result(JSON.stringify(process.env[text] ?? null), message),
  cwd: (_, message) => result(JSON.stringify(process.cwd()), message),
  argv: (_, message) => result(JSON.stringify(rest), message),
  pid: (_, message) => result(String(process.pid), message),
  run: (_, message) => result(JSON.stringify(run), message),
  received: (_, message) => result(JSON.stringify(received), message),
  heard: (_, message) => result(JSON.stringify({ ...message.texts }), message),
  stdin: (_, message) => {
    let said = "end";
    try {
      said = readFileSync(0, "utf8");
    } catch (error) {
      said = error.code;
    }
    return result(JSON.stringify(said), message);
  },
};

void beat();
void listen("stdin");
void listen("control");
await listen("shell");

async function beat() {
  for await (const frames of sockets.hb) await sockets.hb.send(frames);
}

async function listen(channel) {
  for await (const frames of sockets[channel]) {
    const message = read(frames, channel);
    if (message === undefined || mode === "mute") continue;
    try {
      await handle(message);
    } catch (error) {
      process.stderr.write(`kernel: ${error.stack}\n`);
    }
  }
}

async function handle(message) {
  const { msg_type } = message.header;
  if (msg_type === "input_reply") return void input?.(message.content.value);
  const answer = {
    kernel_info_request: kernelInfo,
    execute_request: execute,
    interrupt_request: interrupt,
    shutdown_request: shutdown,
    comm_info_request: () => ({ status: "ok", comms: {} }),
    comm_open: echo,
    comm_msg: echo,
    comm_close: () => undefined,
  }[msg_type];
  await publish("status", { execution_state: "busy" }, message);
  const content = await answer?.(message);
  if (content !== undefined)
    await reply(message, msg_type.replace(/_request$/, "_reply"), content);
  await publish("status", { execution_state: "idle" }, message);
  if (msg_type === "shutdown_request" && mode !== "stubborn") await leave(0);
}

function kernelInfo() {
  return {
    status: "ok",
    protocol_version: "5.3",
    implementation: "scripted",
    implementation_version: "1.0",
    banner: "A kernel that does as it is told",
    help_links: [],
    language_info: {
      name: "scripted",
      version: "1.0",
      mimetype: "text/plain",
      file_extension: ".txt",
      positron: { input_prompt: "?> ", continuation_prompt: ".. " },
    },
  };
}

function interrupt() {
  running?.abort();
  return { status: "ok" };
}

function shutdown(message) {
  if (mode === "stubborn") return undefined;
  running?.abort();
  return { status: "ok", restart: message.content.restart ?? false };
}

async function echo(message) {
  const { comm_id, data } = message.content;
  await publish("comm_msg", { comm_id, data }, message, message.buffers);
}

async function execute(message) {
  received.push(message.header.msg_id);
  count += 1;
  const { code } = message.content;
  await publish("execute_input", { code, execution_count: count }, message);
  running = new AbortController();
  try {
    for (const line of code.split("\n")) {
      const [, word = "", text = ""] = /^(\S*)\s?(.*)$/s.exec(line) ?? [];
      await commands[word]?.(text, message, running.signal);
    }
    return { status: "ok", execution_count: count, user_expressions: {} };
  } catch (error) {
    const interrupted = running.signal.aborted;
    const ename = interrupted ? "KeyboardInterrupt" : error.name;
    const report = { ename, evalue: error.message, traceback: [] };
    await publish("error", report, message);
    return { status: "error", execution_count: count, ...report };
  } finally {
    running = undefined;
  }
}

function stream(text, message) {
  return publish("stream", { name: "stdout", text }, message);
}

function result(text, message) {
  const data = { "text/plain": text };
  return publish(
    "execute_result",
    { data, metadata: {}, execution_count: count },
    message,
  );
}

function publish(msg_type, content, message, buffers = []) {
  return send("iopub", message, msg_type, { content, buffers });
}

function reply(message, msg_type, content) {
  return send(message.channel, message, msg_type, { content });
}

function send(
  channel,
  message,
  msg_type,
  { content, raw, buffers = [], signature },
) {
  const signed = [
    JSON.stringify(header(msg_type)),
    message === undefined ? "{}" : message.texts.header,
    "{}",
    raw ?? JSON.stringify(content),
  ];
  const identities =
    channel === "iopub" ? [`kernel.${run}.${msg_type}`] : message.identities;
  const frames = [
    ...identities,
    DELIMITER,
    signature ?? sign(signed),
    ...signed,
    ...buffers,
  ];
  const line = (lines.get(channel) ?? Promise.resolve()).then(() =>
    sockets[channel].send(frames),
  );
  lines.set(channel, line);
  return line;
}

function header(msg_type) {
  return {
    msg_id: randomUUID(),
    msg_type,
    session: run,
    username: "kernel",
    date: new Date().toISOString(),
    version: "5.3",
  };
}

function sign(parts, key = info.key) {
  if (key === "") return "";
  const hmac = createHmac("sha256", key);
  for (const part of parts) hmac.update(part);
  return hmac.digest("hex");
}

function read(frames, channel) {
  const start = frames.findIndex((frame) => frame.toString() === DELIMITER);
  const [signature, ...signed] = frames.slice(start + 1, start + 6);
  if (start < 0 || signed.length < 4) return undefined;
  if (sign(signed) !== signature.toString()) {
    process.stderr.write("kernel: a message with a wrong signature\n");
    return undefined;
  }
  const [head, parent_header, metadata, content] = signed.map(String);
  return {
    channel,
    identities: frames.slice(0, start),
    texts: { header: head, parent_header, metadata, content },
    header: JSON.parse(head),
    content: JSON.parse(content),
    buffers: frames.slice(start + 6),
  };
}

async function register() {
  const plain = mode === "registering-plain";
  const socket = plain ? new Dealer() : new Request();
  // One that registers wrongly waits for ever: it must be ended.
  if (plain || mode === "registering") socket.receiveTimeout = 10_000;
  socket.connect(
    `tcp://${info.registration_ip ?? info.ip}:${info.registration_port}`,
  );
  const texts = Object.fromEntries(
    Object.entries(ports).map(([k, v]) => [k, String(v)]),
  );
  const msg_type =
    mode === "registering-othertype" ? "status" : "handshake_request";
  const signed = plain
    ? [JSON.stringify({ kernel_id: info.kernel_id ?? "", ...texts })]
    : [JSON.stringify(header(msg_type)), "{}", "{}", JSON.stringify(ports)];
  const key = mode === "registering-missigned" ? "another key" : info.key;
  const signature = mode === "registering-unsigned" ? "" : sign(signed, key);
  await socket.send(
    mode === "registering-garbage"
      ? ["this is no message"]
      : [DELIMITER, signature, ...signed],
  );
  const answer = await socket.receive();
  if (plain || mode === "registering") {
    const start = answer.findIndex((frame) => frame.toString() === DELIMITER);
    const [seal, ...parts] = answer.slice(start + 1);
    if (start < 0 || sign(parts) !== seal.toString()) {
      process.stderr.write("kernel: the acknowledgement is not signed well\n");
      process.exit(4);
    }
  }
  socket.close();
}

async function leave(code) {
  await Promise.all(lines.values());
  for (const socket of Object.values(sockets)) socket.close();
  process.exit(code);
}
