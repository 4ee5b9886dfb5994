import { expect, test } from "vitest";
import { request } from "../../../src/jupyter/client-message.ts";
import { compose } from "../../../src/jupyter/message.ts";
import { ExecutionQueue } from "../../../src/session/executions/queue.ts";
import { code, message } from "../fake-kernel.ts";

test("the first request is sent, the others wait", () => {
  const queue = new ExecutionQueue(10);
  const [a, b, c] = [code("a"), code("b"), code("c")];
  expect([a, b, c].map((one) => queue.offer(one))).toEqual([
    true,
    false,
    false,
  ]);
  expect(queue.active).toBe(a);
  expect(queue.pending).toEqual([b, c]);
});

test("requests run in the order of their arrival", () => {
  const queue = new ExecutionQueue(10);
  const [a, b, c] = [code("a"), code("b"), code("c")];
  for (const one of [a, b, c]) queue.offer(one);
  expect([queue.advance(), queue.advance(), queue.advance()]).toEqual([
    b,
    c,
    undefined,
  ]);
  expect(queue.active).toBeUndefined();
});

test("a failure drops the waiting requests", () => {
  const queue = new ExecutionQueue(10);
  const [a, b] = [code("a"), code("b")];
  for (const one of [a, b]) queue.offer(one);
  expect(queue.fail()).toEqual([b]);
  expect(queue.active).toBe(a);
});

test("a failure drops nothing if the request had `stop_on_error: false`", () => {
  const queue = new ExecutionQueue(10);
  const [a, b] = [code("a", { stop_on_error: false }), code("b")];
  for (const one of [a, b]) queue.offer(one);
  expect(queue.fail()).toEqual([]);
  expect(queue.pending).toEqual([b]);
});

test("a waiting request can be removed", () => {
  const queue = new ExecutionQueue(10);
  const [a, b, c] = [code("a"), code("b"), code("c")];
  for (const one of [a, b, c]) queue.offer(one);
  expect(queue.cancel(b.header.msg_id)).toBe(b);
  expect(queue.pending).toEqual([c]);
});

test("the active request cannot be removed", () => {
  const queue = new ExecutionQueue(10);
  const a = code("a");
  queue.offer(a);
  expect(queue.cancel(a.header.msg_id)).toBeUndefined();
  expect(queue.active).toBe(a);
});

test("after clearing, no request is active", () => {
  const queue = new ExecutionQueue(10);
  const [a, b] = [code("a"), code("b")];
  for (const one of [a, b]) queue.offer(one);
  expect(queue.clear()).toEqual([b]);
  expect(queue.active).toBeUndefined();
});

test("it is full at the limit of waiting requests", () => {
  const queue = new ExecutionQueue(1);
  queue.offer(code("a"));
  expect(queue.isFull).toBe(false);
  queue.offer(code("b"));
  expect(queue.isFull).toBe(true);
});

const speaker = { session: "c", username: "", version: "5.3" };
const inSubshell = code("a");
test.each([
  ["code on shell", code("a"), true],
  ["no code at all", request("execute_request", {}, speaker), false],
  ["another request", message("complete_request"), false],
  [
    "code on control",
    request(
      "execute_request",
      { code: "a" },
      { ...speaker, channel: "control" },
    ),
    false,
  ],
  [
    "code for a subshell",
    { ...inSubshell, header: { ...inSubshell.header, subshell_id: "1" } },
    false,
  ],
  [
    "a reply",
    compose({
      channel: "shell",
      msg_type: "execute_reply",
      content: { status: "ok" },
      session: "",
      username: "",
    }),
    false,
  ],
] as const)("whether the queue accepts %s", (_, one, concerns) => {
  expect(ExecutionQueue.accepts(one)).toBe(concerns);
});
