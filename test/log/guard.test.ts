import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { MockProvisioner } from "../../testing/provisioner.ts";
import { kernelspecsOf } from "../../testing/memory-service.ts";
import { guardOf } from "../../src/log/guard.ts";
import { silentLog } from "../../src/log/log.ts";
import { sessionSocketsIn } from "../../src/server/doors/channels/session-socket.ts";
import { streamEvents } from "../../src/server/doors/rest/event-stream.ts";
import { openServer, temporaryFolder } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

test("an error of a callback is reported, also if the listener throws", () => {
  const received: unknown[] = [];
  const guard = guardOf(silentLog(), (error) => {
    received.push(error.message);
    throw new Error("of the listener");
  });
  guard.around("a test", (text: string) => {
    throw new Error(text);
  })("first");
  guard.report("no error at all", "a test");
  expect(received).toEqual(["first", "no error at all"]);
});

test("a program that embeds the server gets the bugs that were caught, and the server continues", async () => {
  const received: string[] = [];
  await using server = await openServer({
    provisioner: new MockProvisioner({ echo }),
    kernelspecs: {
      ...kernelspecsOf({ echo }, process.execPath),
      list: () => {
        throw new TypeError("put in by the test");
      },
    },
    onFault: (error) => received.push(error.message),
  });
  const broken = await server.ask("GET", "/kernelspecs");
  expect(broken.status).toBe(500);
  expect(broken.body).toMatchObject({ reason: "internal" });
  expect(broken.text).not.toContain("put in by the test");
  expect(received).toEqual(["put in by the test"]);
  expect((await server.ask("GET", "/sessions")).status).toBe(200);
});

/** Resolves with everything that a session's own socket answers until it closes the connection. */
async function answerAt(path: string, sent: string | Buffer): Promise<string> {
  const socket = connect(path);
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => {}); // disconnected while data was on its way
  let answer = "";
  socket.on("data", (chunk) => (answer += chunk.toString()));
  socket.write(sent);
  await once(socket, "close");
  return answer;
}

const request = (upgrade: string) =>
  `GET / HTTP/1.1\r\nhost: x\r\nconnection: ${upgrade === "" ? "close" : "upgrade"}\r\n${upgrade}\r\n`;

test.skipIf(process.platform === "win32")(
  "an error in a connection to a session's own socket ends only that one, and is reported",
  async () => {
    const received: string[] = [];
    const fault = (where: string) => () => {
      throw new Error(where);
    };
    const handshakes = {
      accept: fault("accept"),
      plain: fault("plain"),
      close: () => Promise.resolve(),
    };
    const open = sessionSocketsIn({
      sockets: { handshakes: () => Promise.resolve(handshakes) },
      transport: "socket",
      directory: () => folder,
      guard: guardOf(silentLog(), ({ message }) => received.push(message)),
    });
    const folder = temporaryFolder();
    const own = await open(() => {});
    onTestFinished(() => own.close());

    expect(await answerAt(own.path, Buffer.from([0x81, 0x80]))).toBe("");
    expect(received).toEqual(["plain"]);
    const upgrade = "upgrade: websocket\r\n";
    expect(await answerAt(own.path, request(upgrade))).toBe("");
    expect(received).toEqual(["plain", "accept"]);
    expect(await answerAt(own.path, request(""))).toContain("426");

    rmSync(own.path);
    mkdirSync(own.path); // a directory cannot be removed as a file
    own.close();
    expect(received).toHaveLength(3);
  },
);

test("a keep-alive that cannot be written ends nothing, and is reported", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  const received: string[] = [];
  const guard = guardOf(silentLog(), ({ message }) => received.push(message));
  const leave = new AbortController();
  const http = createServer((_req, res) => {
    const write = res.write.bind(res);
    vi.spyOn(res, "write").mockImplementation((...given: [string]) => {
      if (given[0] === ": still here\n\n")
        throw new Error("put in by the test");
      return write(...given);
    });
    const left = once(leave.signal, "abort");
    async function* silence(): AsyncGenerator<never, void> {
      await left;
    }
    void streamEvents(res, silence(), 1_000, guard);
  });
  onTestFinished(() => http.closeAllConnections());
  onTestFinished(() => void http.close());
  await once(http.listen(0, "127.0.0.1"), "listening");
  const { port } = http.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}`);
  const reader = response.body?.getReader();
  await reader?.read();
  vi.advanceTimersByTime(15_000);
  vi.advanceTimersByTime(15_000);
  expect(received).toEqual(["put in by the test", "put in by the test"]);
  leave.abort();
  expect((await reader?.read())?.done).toBe(true);
});
