/** Which registrations are accepted (JEP 66). `test/kernels` tests that real kernels can register. */
import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { Dealer } from "zeromq";
import { DELIMITER, Signer, toFrames } from "../../src/jupyter/frames.ts";
import { compose } from "../../src/jupyter/message.ts";
import { awaitRegistration } from "../../src/kernel/registration.ts";
import { isFault } from "../../src/kernel/fault.ts";
import { eventually } from "../harness.ts";

const KEY = "the kernel's key";
const OURS = new Signer(KEY);
const THEIRS = new Signer("a stranger's key");
const PORTS = {
  shell_port: 1,
  iopub_port: 2,
  stdin_port: 3,
  control_port: 4,
  hb_port: 5,
};

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A registration in the dialect of one frame. */
function frame(content: unknown, signer = OURS): Uint8Array[] {
  const bytes = Buffer.from(
    typeof content === "string" ? content : JSON.stringify(content),
  );
  const none = new Uint8Array();
  const raw = { header: none, parent_header: none, metadata: none };
  return [DELIMITER, signer.sign({ ...raw, content: bytes }), bytes];
}

/** A registration in the dialect of a whole message. */
function message(
  content: unknown,
  { msg_type = "handshake_request", signer = OURS } = {},
): Uint8Array[] {
  const request = compose({
    channel: "shell",
    msg_type,
    content,
    session: "s",
    username: "kernel",
  });
  return toFrames(request, signer);
}

async function open() {
  const refused: string[] = [];
  const registration = await awaitRegistration(KEY, "127.0.0.1", (why) =>
    refused.push(why),
  );
  return Object.assign(registration, { refused });
}

function dealer(port: number): Dealer {
  const socket = new Dealer({ linger: 0, receiveTimeout: 5_000 });
  closers.push(() => socket.close());
  socket.connect(`tcp://127.0.0.1:${port}`);
  return socket;
}

describe("a registration that is signed and not valid fails the start at once, with a reason", () => {
  const four = { ...PORTS, shell_port: undefined };
  test.each<[string, Uint8Array[], RegExp]>([
    ["not JSON", frame("{nope"), /not JSON/],
    ["bytes that are not text", frame("\u0000\ufffd"), /not JSON/],
    ["null", frame("null"), /not an object/],
    ["a list", frame([1, 2, 3, 4, 5]), /not an object/],
    ["four ports", frame(four), /shell_port/],
    ["port 0", frame({ ...PORTS, hb_port: 0 }), /hb_port/],
    ["port 70000", frame({ ...PORTS, hb_port: "70000" }), /hb_port/],
    ["a port that is a list", frame({ ...PORTS, hb_port: [5] }), /hb_port/],
    ["a port that is true", frame({ ...PORTS, hb_port: true }), /hb_port/],
    ["a port that is null", frame({ ...PORTS, hb_port: null }), /hb_port/],
    ["a port in hexadecimal", frame({ ...PORTS, hb_port: "0x10" }), /hb_port/],
    ["nested lists", frame("[".repeat(30_000)), /not JSON/],
    ["a message without content", message(null), /not an object/],
    ["a message of four ports", message(four), /shell_port/],
    [
      "a message of another type",
      message(PORTS, { msg_type: "kernel_info_reply" }),
      /another type/,
    ],
    [
      "a header that is not JSON",
      signed(["{nope", "{}", "{}", JSON.stringify(PORTS)]),
      /not a Jupyter message/,
    ],
    ["too few frames", signed(["{}", "{}"]), /not a Jupyter message/],
  ])("%s", async (_name, frames, why) => {
    await using registration = await open();
    await dealer(registration.port).send(frames);
    const error = await registration.connection.catch(
      (reason: unknown) => reason,
    );
    expect(isFault(error, "bad_registration")).toBe(true);
    expect((error as Error).message).toMatch(why);
    expect(registration.unsigned).toBe(0);
  });
});

describe("an unsigned registration is dropped and counted, and the kernel's own is accepted", () => {
  test.each<[string, Uint8Array[]]>([
    ["another key, one frame", frame(PORTS, THEIRS)],
    ["another key, a message", message(PORTS, { signer: THEIRS })],
    ["no signature", [DELIMITER, Buffer.of(), Buffer.from("{}")]],
    ["no delimiter", [Buffer.from("hello")]],
    ["a delimiter alone", [DELIMITER]],
    ["an empty frame", [Buffer.of()]],
    ["many frames", Array.from({ length: 400 }, () => Buffer.from("x"))],
  ])("%s", async (_name, frames) => {
    await using registration = await open();
    await dealer(registration.port).send(frames);
    await eventually("the refusal", () => registration.refused[0]);
    await dealer(registration.port).send(frame(PORTS));
    expect(await registration.connection).toMatchObject({ ...PORTS, key: KEY });
    expect(registration.unsigned).toBe(1);
  });
});

test("foreign processes that send nothing do not block the kernel's registration", async () => {
  await using registration = await open();
  for (let nth = 0; nth < 40; nth += 1) {
    const stranger = connect(registration.port, "127.0.0.1");
    closers.push(() => stranger.destroy());
    stranger.on("error", () => {});
    await once(stranger, "connect");
  }
  const kernel = dealer(registration.port);
  await kernel.send(message(PORTS));
  expect(await registration.connection).toMatchObject(PORTS);
  const frames = await kernel.receive();
  expect(JSON.parse(String(frames.at(-1)))).toMatchObject({ status: "ok" });
});

test("the first valid registration counts; later ones have no effect", async () => {
  await using registration = await open();
  const kernel = dealer(registration.port);
  await kernel.send(frame(PORTS));
  await kernel.receive();
  await kernel.send(frame({ ...PORTS, shell_port: 99 }));
  await kernel.receive();
  await kernel.send(frame("nonsense"));
  expect(await registration.connection).toMatchObject(PORTS);
});

/** Frames that are signed one after the other. */
function signed(texts: readonly string[]): Uint8Array[] {
  const parts = texts.map((text) => Buffer.from(text));
  return [...frame(Buffer.concat(parts).toString()).slice(0, 2), ...parts];
}
