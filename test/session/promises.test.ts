/** A session's promises to its callers, with any kernel. */
import { expect, test } from "vitest";
import { Ownership } from "../../src/session/ownership.ts";
import { code, startedSession } from "./fake-kernel.ts";

test.each(["error", "abort", "aborted"])(
  "a reply with status %s is a failure: the requests behind it are dropped",
  async (status) => {
    const { session, kernel } = await startedSession();
    const [first, second] = [code("a"), code("b")];
    for (const one of [first, second]) session.send(one);
    kernel.reply(first, { status });
    kernel.idle(first);
    expect(kernel.received).toEqual(["a"]);
    expect(session.executions.get(second.header.msg_id)).toMatchObject({
      state: "aborted",
      reason: "earlier_failure",
    });
  },
);

test("the caller gets an answer when its request is aborted", async () => {
  const { session } = await startedSession();
  session.send(code("a"));
  const requested = session.request(code("b"), 60_000);
  await session.interrupt();
  expect((await requested).content).toMatchObject({
    status: "aborted",
    reason: "interrupt",
  });
});

test("an answer may be repeated under its id after the input request was answered, and is given once", async () => {
  const { session, kernel } = await startedSession();
  const one = code("input()");
  const execution = session.execute(one, undefined);
  kernel.busy(one);
  kernel.ask(one, "?");
  const answer = { value: "yes", answer_id: "my answer" };
  session.answer(execution, answer);
  session.answer(execution, answer);
  expect(kernel.received).toEqual(["input()", "input_reply"]);
  expect(() => session.answer(execution, { value: "no" })).toThrow(
    expect.objectContaining({ reason: "execution_state" }),
  );
});

test("ten thousand requests may wait, and no more", async () => {
  const { session, kernel } = await startedSession();
  for (let n = 0; n <= 10_000; n += 1) session.send(code(`${n}`));
  expect(session.queue.pending.length).toBe(10_000);
  const last = code("too many");
  expect(() => session.send(last)).toThrow(
    expect.objectContaining({ reason: "too_busy" }),
  );
  expect(session.executions.find(last.header.msg_id)).toBeUndefined();
  expect(kernel.received).toEqual(["0"]);
});

test("entries that an owner has acknowledged stay acknowledged", () => {
  const ownership = new Ownership();
  const claim = ownership.take("", () => Promise.resolve());
  claim.acknowledge(7);
  claim.acknowledge(3);
  expect(ownership.position).toBe(7);
});
