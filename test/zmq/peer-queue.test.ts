/** The messages that wait for a peer. */
import { expect, test } from "vitest";
import { PeerQueue } from "../../src/zmq/peer-queue.ts";

test("messages leave in order, also after the queue was empty, and their bytes with them", () => {
  const queue = new PeerQueue();
  for (const text of ["a", "b"]) {
    queue.push([Buffer.from(text)]);
    queue.push([Buffer.from(`${text} again`)]);
    expect(queue.bytes).toBeGreaterThan(0);
    expect(String(queue.shift()?.[0])).toBe(text);
    expect(String(queue.shift()?.[0])).toBe(`${text} again`);
    expect(queue.shift()).toBeUndefined();
    expect(queue.bytes).toBe(0);
  }
});
