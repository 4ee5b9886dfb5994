/** A kernel that sends a wrong registration (JEP 66): its start fails at once, with a reason. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openServer, ownWords } from "../harness.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Signs the given content with the kernel's key, sends it as the registration, and stays. */
const PROGRAM = `
  const { createHmac } = require("node:crypto");
  const { readFileSync } = require("node:fs");
  const { Dealer } = require("zeromq");
  const { key, registration_port } = JSON.parse(readFileSync(process.argv[1], "utf8"));
  const frames = JSON.parse(process.env.FRAMES);
  const signature = createHmac("sha256", key).update(frames.join("")).digest("hex");
  const dealer = new Dealer();
  dealer.connect("tcp://127.0.0.1:" + registration_port);
  dealer.send(["<IDS|MSG>", signature, ...frames]);
  setInterval(() => {}, 1000);
`;

const header = (msg_type: string) => JSON.stringify({ msg_id: "1", msg_type });

test.each<[string, string[], RegExp]>([
  ["garbage", ["{nope"], /registration is not JSON/],
  ["no ports", ["{}"], /does not name its five ports: shell_port/],
  [
    "a message of another type",
    [header("status"), "{}", "{}", "{}"],
    /another type than handshake_request/,
  ],
])("%s as a registration", async (_, frames, why) => {
  await using server = await openServer();
  const created = await server.ask("PUT", "/sessions", {
    session_id: "liar",
    argv: [process.execPath, "-e", PROGRAM, "{connection_file}"],
    ...ownWords,
    working_directory: ROOT,
    env: [{ action: "replace", name: "FRAMES", value: JSON.stringify(frames) }],
    interrupt_mode: "message",
    protocol_version: "5.5",
    connection_timeout: 3_600, // so that a wait for it fails the test
  });
  expect([created.status, created.text]).toEqual([200, expect.any(String)]);
  const started = await server.ask("POST", "/sessions/liar/start");
  expect(started.status).toBe(500);
  expect(started.text).toContain("handshake_failed");
  expect(started.text).toMatch(why);
});
