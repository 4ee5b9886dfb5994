/** How many messages, and how large ones, may wait for the server. */
import { expect, test } from "vitest";
import type { Connection } from "../../client/connection.ts";
import { Outbox, type OutboxMessage } from "../../client/outbox.ts";

const LIMIT = 256 * 1024 * 1024;
const open = {
  state: "open",
  open: () => {},
  subscribe: () => () => {},
} as unknown as Connection;

/** A message of so many bytes, and how the server accepts it. */
function message(size: number): OutboxMessage<string> & { accept: () => void } {
  let accept: () => void = () => {};
  const accepted = new Promise<string>((resolve) => {
    accept = () => resolve(`${size} bytes`);
  });
  return { id: String(size), size, transmit: () => accepted, accept };
}

test("messages wait up to a number of bytes, and the first may be larger", async () => {
  const outbox = new Outbox(open);
  const larger = message(LIMIT + 1);
  const alone = outbox.post(larger);
  await expect(outbox.post(message(1))).rejects.toThrow("1 messages wait");
  larger.accept();
  expect(await alone).toBe(`${LIMIT + 1} bytes`);

  const halves = [message(LIMIT / 2), message(LIMIT / 2)];
  const both = Promise.all(halves.map((half) => outbox.post(half)));
  await expect(outbox.post(message(1))).rejects.toMatchObject({
    reason: "too_busy",
  });
  for (const half of halves) half.accept();
  expect(await both).toHaveLength(2);
});
