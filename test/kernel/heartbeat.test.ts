/** The heartbeat: only an echo of the server's own bytes counts. */
import { afterEach, expect, onTestFinished, test } from "vitest";
import { curveKeyPair, Router } from "zeromq";
import { boundaryOf } from "../../src/kernel/boundary.ts";
import { watchHeartbeat } from "../../src/kernel/heartbeat.ts";
import type { CurveKeys } from "../../src/zmq/transport.ts";
import { transportOf } from "../../src/zmq/transport-of.ts";
import { silentLog } from "../../src/log/log.ts";
import { Faults } from "../../src/log/faults.ts";
import { eventually } from "../harness.ts";
import { bound, closeAll, plainPeer } from "../zmq/peers.ts";

afterEach(closeAll);

function listen(endpoint: string, curve?: CurveKeys) {
  const beats: boolean[] = [];
  const reasons: string[] = [];
  const heartbeat = watchHeartbeat({
    boundary: boundaryOf(transportOf(), new Faults(silentLog()), "s"),
    endpoint,
    curve,
    changed: (beat) => beats.push(beat),
    givenUp: ({ message }) => reasons.push(message),
    isSilenceExpected: () => false,
  });
  onTestFinished(() => heartbeat.close());
  return { beats, reasons };
}

test("a kernel with CURVE keys gets an encrypted heartbeat", async () => {
  const curve = curveKeyPair();
  const router = new Router({
    curveServer: true,
    curvePublicKey: curve.publicKey,
    curveSecretKey: curve.secretKey,
  });
  const { beats } = listen(await bound(router), curve);
  await router.send(await router.receive());
  await eventually("a beat", () => beats[0]);
  expect(beats).toEqual([true]);
});

test("only an echo is a beat, and each echo counts once", async () => {
  const router = new Router();
  const { beats } = listen(await bound(router));
  const [sender = "", empty = "", beat = ""] = await router.receive();
  const others = ["", "beat 1", `${String(beat)}0`, Buffer.alloc(30_000)];
  for (const other of others) await router.send([sender, empty, other]);
  await router.send([sender, empty]);
  expect(beats).toEqual([]);
  for (let i = 0; i < 100; i += 1) await router.send([sender, empty, beat]);
  await eventually("a beat", () => beats[0]);
  const [, , next] = await router.receive(); // the one beat after the interval
  expect(String(next)).not.toBe(String(beat));
  expect(beats).toEqual([true]);
});

test("a port without ZeroMQ is silent at once, with a reason", async () => {
  const endpoint = await plainPeer((socket) => socket.end("HTTP/1.1 400\r\n"));
  const { beats, reasons } = listen(endpoint);
  await eventually("the reason", () => reasons[0]);
  expect(reasons[0]).toMatch(/does not use ZeroMQ/);
  expect(beats).toEqual([false]);
});
