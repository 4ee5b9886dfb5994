import { describe, expect, test } from "vitest";
import type { SessionEvent } from "../../contract/index.ts";
import { Outputs, outputsOf } from "../../outputs/outputs.ts";

type Content = Readonly<Record<string, unknown>>;

/** The outputs after these messages. A stream has as many bytes as its text; any other message has a hundred. */
function after(messages: readonly (readonly [string, Content])[], limit = 1e6) {
  const outputs = new Outputs(limit);
  for (const [msg_type, content] of messages) {
    if (!outputs.isRelevant(msg_type, true)) continue;
    const { text } = content;
    outputs.add(
      msg_type,
      content,
      typeof text === "string" ? text.length : 100,
    );
  }
  return outputs;
}

const out = (text: string) => ["stream", { name: "stdout", text }] as const;
const err = (text: string) => ["stream", { name: "stderr", text }] as const;
const clear = (wait: boolean) => ["clear_output", { wait }] as const;
const bundle = (text: string, display_id?: string) => ({
  data: { "text/plain": text },
  metadata: { of: text },
  transient: display_id === undefined ? {} : { display_id },
});
const show = (text: string, display_id?: string) =>
  ["display_data", bundle(text, display_id)] as const;
const update = (text: string, display_id: string) =>
  ["update_display_data", bundle(text, display_id)] as const;

test.each([
  ["a stream is joined while it goes on", [out("a"), out("b")], ["stdout:ab"]],
  [
    "another stream begins a new output",
    [out("a"), err("b"), out("c")],
    ["stdout:a", "stderr:b", "stdout:c"],
  ],
  [
    "a display splits a stream",
    [out("a"), show("x"), out("b")],
    ["stdout:a", "x", "stdout:b"],
  ],
  ["a clearing clears", [out("a"), clear(false)], []],
  ["a clearing may wait", [out("a"), clear(true)], ["stdout:a"]],
  [
    "a clear with wait clears at the next output, and does not join it",
    [out("a"), clear(true), out("b"), out("c")],
    ["stdout:bc"],
  ],
  [
    "an immediate clear cancels one that waits",
    [clear(true), out("a"), clear(true), clear(false), out("b"), out("c")],
    ["stdout:bc"],
  ],
  [
    "an update changes every display with its id, and no other",
    [show("x", "1"), show("y", "2"), show("z", "1"), update("new", "1")],
    ["new", "y", "new"],
  ],
  [
    "a cleared display is not updated",
    [show("x", "1"), clear(false), show("y"), update("new", "1")],
    ["y"],
  ],
])("%s", (_, messages, expected) => {
  const shown = after(messages).list.map((output) => {
    if (output.output_type === "stream") return `${output.name}:${output.text}`;
    return (output["data"] as Record<string, unknown>)["text/plain"];
  });
  expect(shown).toEqual(expected);
});

test.each([
  [
    "execute_result",
    { data: { "text/plain": "42" }, metadata: {}, execution_count: 3 },
    { data: { "text/plain": "42" }, metadata: {}, execution_count: 3 },
  ],
  ["execute_result", {}, { data: {}, metadata: {}, execution_count: null }],
  ["display_data", { data: null, transient: null }, { data: {}, metadata: {} }],
  [
    "error",
    { ename: "E", evalue: "v", traceback: ["a"] },
    { ename: "E", evalue: "v", traceback: ["a"] },
  ],
  [
    "error",
    { ename: "E", traceback: "?" },
    { ename: "E", evalue: "", traceback: [] },
  ],
  ["stream", { text: "a" }, { name: "stdout", text: "a" }],
])(
  "%s has nbformat's shape, whatever fields are missing",
  (msg_type, content, shape) => {
    expect(after([[msg_type, content]]).list).toEqual([
      { output_type: msg_type, ...shape },
    ]);
  },
);

test("a message that makes no output is not read", () => {
  const outputs = new Outputs();
  expect(outputs.isRelevant("status", true)).toBe(false);
  expect(outputs.isRelevant("stream", false)).toBe(false);
  expect(outputs.isRelevant("update_display_data", false)).toBe(false);
  outputs.add("display_data", bundle("x", "1"), 1);
  expect(outputs.isRelevant("update_display_data", false)).toBe(true);
});

const result = (text: string, display_id?: string) =>
  ["execute_result", { ...bundle(text, display_id), text }] as const;
const failed = (ename: string) => ["error", { ename, text: ename }] as const;

describe("over the limit", () => {
  const kept = (outputs: Outputs) =>
    outputs.list.map((output) => {
      if (output.output_type === "stream") return output.text;
      if (output.output_type === "error") return output.ename;
      return output.data["text/plain"];
    });

  test("a stream is kept as far as it fits, and the rest is counted", () => {
    const clipped = after([out("12345"), out("678901"), out("2")], 10);
    expect(kept(clipped)).toEqual(["1234567890"]);
    expect(clipped.clipped).toEqual({ outputs: 2, bytes: 2, limit_bytes: 10 });
    expect(clipped.isClipped).toBe(true);
  });

  test("a single message that is larger than the limit is kept as far as it fits", () => {
    const clipped = after([out("x".repeat(70))], 64);
    expect(kept(clipped)).toEqual(["x".repeat(64)]);
    expect(clipped.clipped).toEqual({ outputs: 1, bytes: 6, limit_bytes: 64 });
  });

  test("no surrogate pair is cut in two", () => {
    const text = "ab😀";
    const clipped = after([out(text)], 3);
    expect(kept(clipped)).toEqual(["ab"]);
  });

  test("a display that does not fit is left out whole, and so are all later outputs", () => {
    const clipped = after([out("123"), show("x"), out("4")], 50);
    expect(kept(clipped)).toEqual(["123"]);
    expect(clipped.clipped).toEqual({
      outputs: 2,
      bytes: 101,
      limit_bytes: 50,
    });
  });

  test("the result and the error are kept, whatever their size and the earlier outputs", () => {
    const flood = out("x".repeat(20));
    expect(kept(after([flood, result("42")], 10))).toEqual([
      "x".repeat(10),
      "42",
    ]);
    expect(kept(after([flood, failed("Oops")], 10))).toEqual([
      "x".repeat(10),
      "Oops",
    ]);
    const large = "y".repeat(30);
    expect(kept(after([result(large)], 10))).toEqual([large]);
    expect(after([result(large)], 10).clipped).toBeNull();
  });

  test("of more results than fit, the last are kept and the others counted", () => {
    const clipped = after([result("111111"), result("22"), result("333")], 6);
    expect(kept(clipped)).toEqual(["22", "333"]);
    expect(clipped.clipped).toEqual({ outputs: 1, bytes: 6, limit_bytes: 6 });
  });

  test("updates count: one that does not fit leaves the displays as they are", () => {
    const clipped = after([show("a", "1"), show("b", "1")], 200);
    clipped.add("update_display_data", bundle("large", "1"), 150);
    expect(kept(clipped)).toEqual(["a", "b"]);
    expect(clipped.clipped).toMatchObject({ outputs: 2 });
    clipped.add("update_display_data", bundle("small", "1"), 10);
    expect(kept(clipped)).toEqual(["small", "small"]);
    clipped.add("update_display_data", bundle("fits now", "1"), 100);
    expect(kept(clipped)).toEqual(["fits now", "fits now"]);
  });

  test("a clear makes room again, and nothing is missing then", () => {
    const cleared = after([out("12345678901"), clear(false), out("1")], 10);
    expect(kept(cleared)).toEqual(["1"]);
    expect(cleared.isClipped).toBe(false);
    expect(cleared.clipped).toBeNull();
  });
});

test("the outputs of a request are taken from a session's events, including updates by other requests", () => {
  const event = (
    parent: string,
    [msg_type, content]: readonly [string, Content],
  ): SessionEvent => ({
    kind: "jupyter",
    seq: 1,
    channel: "iopub",
    header: { msg_id: "m", msg_type },
    parent_header: { msg_id: parent, msg_type: "execute_request" },
    metadata: {},
    content,
    buffers: [],
  });
  const events = [
    event("a", show("before", "1")),
    event("b", out("another's")),
    event("b", update("after", "1")),
  ];
  expect(outputsOf(events, "a")).toEqual([
    {
      output_type: "display_data",
      data: { "text/plain": "after" },
      metadata: { of: "after" },
    },
  ]);
});
