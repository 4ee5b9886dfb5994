/** Which program gets a connection to a port of loopback, if several listen on it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { connectToPort } from "../../src/host/listeners.ts";
import { needs, needsLinux } from "../needs.ts";

const own = () => [process.pid];

/** Listens here, and greets each connection with `ours`. Resolves with the port. */
async function listenHere(host: string, port = 0): Promise<number> {
  const server = createServer((socket) => socket.end("ours"));
  server.listen({ host, port, ipv6Only: true });
  onTestFinished(() => void server.close());
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

/** The same in another process, which greets with `theirs`. */
async function listenElsewhere(host: string, port = 0): Promise<number> {
  const script = `
    const server = require("node:net").createServer((socket) => socket.end("theirs"));
    server.listen({ host: "${host}", port: ${port}, ipv6Only: true }, () =>
      process.stdout.write(String(server.address().port)));
  `;
  const child: ChildProcess = spawn(process.execPath, ["-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = (await once(child.stdout as never, "data")) as [Buffer];
  return Number(line);
}

async function greeting(connected: Promise<Socket>): Promise<string> {
  const socket = await connected;
  const [text] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return String(text);
}

describe("a port on which two programs listen", needsLinux, () => {
  test.each(["::1", "::"])(
    "leads to 127.0.0.1 if that is ours, and not to theirs on %s",
    async (theirs) => {
      const port = await listenHere("127.0.0.1");
      expect(await listenElsewhere(theirs, port)).toBe(port);
      expect(await greeting(connectToPort(port, own))).toBe("ours");
    },
  );

  test.each(["::1", "::"])(
    "leads to ours on %s, and not to theirs on 127.0.0.1",
    async (ours) => {
      const port = await listenElsewhere("127.0.0.1");
      expect(await listenHere(ours, port)).toBe(port);
      expect(await greeting(connectToPort(port, own))).toBe("ours");
    },
  );

  test("is refused if both are theirs, or if ours is not on loopback", async () => {
    const port = await listenElsewhere("127.0.0.1");
    await listenHere("127.0.0.2", port);
    await expect(connectToPort(port, own)).rejects.toThrow(
      "the program that listens on it was not started by the kernel",
    );
    const other = await listenHere("127.0.0.2");
    await expect(connectToPort(other, own)).rejects.toThrow(
      "no program listens on it on 127.0.0.1 or ::1",
    );
  });

  test.each([0, 65_536, 1.5, NaN])("%d is no port", async (port) => {
    await expect(connectToPort(port, own)).rejects.toThrow(
      "it is not a number from 1 to 65535",
    );
  });
});

test(
  "a system that does not say which program listens refuses every port",
  needs(process.platform !== "linux", "a system other than Linux"),
  async () => {
    const port = await listenHere("127.0.0.1");
    await expect(connectToPort(port, own)).rejects.toThrow(
      "it is not known which program listens on it",
    );
  },
);
