import { expect, test } from "vitest";
import { Outputs, outputsOf, type SessionEvent } from "../../contract/index.ts";

type Content = Readonly<Record<string, unknown>>;

/** What the outputs are after these messages; each takes as many bytes as its text, others a hundred. */
function after(messages: readonly (readonly [string, Content])[], limit = 1e6) {
  const outputs = new Outputs(limit);
  for (const [msg_type, content] of messages) {
    if (!outputs.concerns(msg_type, true)) continue;
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
    "another stream begins anew",
    [out("a"), err("b"), out("c")],
    ["stdout:a", "stderr:b", "stdout:c"],
  ],
  [
    "a display parts a stream",
    [out("a"), show("x"), out("b")],
    ["stdout:a", "x", "stdout:b"],
  ],
  ["a clearing clears", [out("a"), clear(false)], []],
  ["a clearing may wait", [out("a"), clear(true)], ["stdout:a"]],
  [
    "one that waits clears with the next output, and does not join it",
    [out("a"), clear(true), out("b"), out("c")],
    ["stdout:bc"],
  ],
  [
    "a clearing at once calls off one that waits",
    [clear(true), out("a"), clear(true), clear(false), out("b"), out("c")],
    ["stdout:bc"],
  ],
  [
    "an update changes every display of its id, and no other",
    [show("x", "1"), show("y", "2"), show("z", "1"), update("new", "1")],
    ["new", "y", "new"],
  ],
  [
    "what was cleared is not updated",
    [show("x", "1"), clear(false), show("y"), update("new", "1")],
    ["y"],
  ],
])("%s", (_, messages, expected) => {
  const said = after(messages).list.map((output) => {
    if (output.output_type === "stream") return `${output.name}:${output.text}`;
    return (output["data"] as Record<string, unknown>)["text/plain"];
  });
  expect(said).toEqual(expected);
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
  "%s is kept in nbformat's shape, whatever it lacks",
  (msg_type, content, shape) => {
    expect(after([[msg_type, content]]).list).toEqual([
      { output_type: msg_type, ...shape },
    ]);
  },
);

test("what says nothing to be kept is not read", () => {
  const outputs = new Outputs();
  expect(outputs.concerns("status", true)).toBe(false);
  expect(outputs.concerns("stream", false)).toBe(false);
  expect(outputs.concerns("update_display_data", false)).toBe(false);
  outputs.add("display_data", bundle("x", "1"), 1);
  expect(outputs.concerns("update_display_data", false)).toBe(true);
});

test("what comes past the limit is left out, and said to be, until it is cleared", () => {
  const clipped = after([out("12345"), out("678901"), out("2")], 10);
  expect(clipped.list).toMatchObject([{ text: "12345" }]);
  expect(clipped.isClipped).toBe(true);
  const cleared = after([out("12345678901"), clear(false), out("1")], 10);
  expect(cleared.list).toMatchObject([{ text: "1" }]);
  expect(cleared.isClipped).toBe(false);
});

test("of a session's events, those of one request are its outputs, with others' updates", () => {
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
