/** An error while a kernel's message is handled drops this one message, with both drivers. */
import { afterEach, describe, expect, it } from "vitest";
import { XPublisher } from "zeromq";
import { boundaryOf } from "../../src/kernel/boundary.ts";
import { libzmq } from "../../src/zmq/libzmq.ts";
import type { Link, LinkState } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { Faults } from "../../src/log/faults.ts";
import { eventually } from "../harness.ts";
import { recordingLog } from "../recording-log.ts";
import { bound, closeAll } from "../zmq/peers.ts";

afterEach(closeAll);

const KIND = "A message from the kernel was dropped";

describe.each([zmtp, libzmq])("$name", (driver) => {
  it("receives the message after one whose handling threw, and counts the error for the session", async () => {
    const { log, lines } = recordingLog();
    const faults = new Faults(log);
    const boundary = boundaryOf(driver, faults, "s1");
    const publisher = new XPublisher();
    const received: string[] = [];
    using link = closing(
      boundary.connect("iopub", {
        type: "sub",
        endpoint: await bound(publisher),
        onMessage: ([frame]) => {
          const text = String(frame);
          received.push(text);
          if (text.startsWith("{")) JSON.parse(text);
        },
      }),
    );
    await publisher.receive();
    for (const text of ["a", "{secret", "b", "{secret", "c"]) {
      await publisher.send(text);
    }
    await eventually("the last message", () => received[4]);
    expect(received).toEqual(["a", "{secret", "b", "{secret", "c"]);
    expect(faults.total(KIND)).toBe(2);
    expect(lines).toHaveLength(1); // at most one a minute
    expect(lines[0]).toMatchObject({ session: "s1", channel: "iopub" });
    expect(lines[0]?.msg).toContain("SyntaxError");
    expect(lines[0]?.msg).not.toContain("secret");
    expect(link.waiting).toBe(0);
  });

  it("continues if a state callback throws, or if waiting for the session throws", async () => {
    const faults = new Faults(recordingLog().log);
    const boundary = boundaryOf(driver, faults, "s1");
    const publisher = new XPublisher();
    const received: string[] = [];
    const states: LinkState[] = [];
    const waits = [
      () => {
        throw new Error("at once");
      },
      () => Promise.reject(new Error("later")),
    ];
    using _link = closing(
      boundary.connect("iopub", {
        type: "sub",
        endpoint: await bound(publisher),
        backpressure: () => waits.shift()?.(),
        onMessage: ([frame]) => received.push(String(frame)),
        onState: (state) => {
          states.push(state);
          throw new Error(state);
        },
      }),
    );
    await publisher.receive();
    for (const text of ["a", "b", "c"]) {
      await publisher.send(text);
      await eventually(`message ${text}`, () =>
        received.includes(text) ? true : undefined,
      );
    }
    expect(received).toEqual(["a", "b", "c"]);
    expect(states).toEqual(["connected"]);
    expect(waits).toEqual([]);
    expect(faults.total(KIND)).toBe(3);
  });
});

function closing(link: Link): Link & Disposable {
  return Object.assign(link, { [Symbol.dispose]: () => link.close() });
}
