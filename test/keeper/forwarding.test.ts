/** Ports of real kernels: of a keeper's, and of the server's own process tree. A session cannot tell them apart. */
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import type { SupervisorError } from "../../contract/index.ts";
import { descendantsOf, statOf } from "../../src/host/process-table.ts";
import { WINDOW } from "../../src/keeper/forwards.ts";
import { keeperFileIn, readKeeperFile } from "../../src/keeper/keeper-file.ts";
import { KeeperLink } from "../../src/keeper/link.ts";
import { silentLog } from "../../src/log/log.ts";
import { eventually } from "../harness.ts";
import { bytesOf, digestOf, listenForRequests } from "../kernels/ports.ts";
import { needsLinux } from "../needs.ts";
import {
  collecting,
  counted,
  execute,
  inKeeper,
  inOwnTree,
  Place,
  range,
  SECRET,
  start,
  type Started,
} from "./place.ts";

const MIB = 1024 * 1024;
const log = silentLog();

/** Lets the kernel start a program that listens. */
async function listening(
  { kernel, texts }: Started,
  host = "127.0.0.1",
): Promise<{ port: number; pid: number }> {
  const before = texts.length;
  kernel.send(execute(`listen ${host}`, `listen-${before}`));
  const line = await eventually("the port", () =>
    texts.slice(before).find((text) => text.startsWith("port ")),
  );
  const [, port, pid] = line.split(" ").map(Number);
  return { port: port ?? 0, pid: pid ?? 0 };
}

/** All that can be read. */
function digest(stream: Duplex): Promise<string> {
  return digestOf(stream.iterator({ destroyOnReturn: false }));
}

/** All that can be read, as text. */
async function text(stream: Duplex): Promise<string> {
  let all = "";
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    all += String(chunk);
  }
  return all;
}

describe.each([
  ["of a keeper", inKeeper],
  ["of the server's own tree", inOwnTree],
])("a port of a kernel %s", needsLinux, (_, started) => {
  test.each(["127.0.0.1", "::1", "0.0.0.0", "::"])(
    "on %s is reached, and each half of the connection closes by itself",
    async (host) => {
      const run = await started();
      const { port } = await listening(run, host);
      const echo = await run.kernel.forward(port);
      echo.write("echo\nhello");
      expect(String((await once(echo, "data"))[0])).toBe("hello");
      echo.end(" and goodbye");
      expect(await text(echo)).toBe(" and goodbye");
      const sink = await run.kernel.forward(port);
      sink.end("sink\n12345");
      expect(await text(sink)).toBe(await digestOf(streamOf("12345")));
      await eventually("its close", () => sink.destroyed || undefined);
    },
  );

  test("speaks HTTP", async () => {
    const run = await started();
    const { port } = await listening(run);
    const connection = await run.kernel.forward(port);
    const sent = request({
      path: "/a/path",
      createConnection: () => connection,
    });
    sent.end();
    const [response] = (await once(sent, "response")) as [
      NodeJS.ReadableStream,
    ];
    let body = "";
    for await (const part of response) body += String(part);
    expect(body).toBe("/a/path");
    connection.destroy();
  });

  test("is refused if no program listens on it, if another program does, or if it is not a port", async () => {
    const run = await started();
    const { kernel } = run;
    const own = await listenForRequests("127.0.0.1"); // of this process, which is no kernel
    const refused = (port: number) =>
      kernel.forward(port).then(
        () => "open",
        (error: unknown) => {
          const { reason, message } = error as SupervisorError;
          return `${reason}: ${message.replace(String(port), "PORT")}`;
        },
      );
    const which =
      "port_unreachable: Port PORT of the kernel of session s cannot be reached: ";
    expect(await refused(own)).toBe(
      `${which}the program that listens on it was not started by the kernel`,
    );
    expect(await refused(1)).toBe(
      `${which}no program listens on it on 127.0.0.1 or ::1`,
    );
    const { port, pid } = await listening(run);
    expect(await refused(port)).toBe("open");
    process.kill(pid, "SIGKILL");
    await eventually("the port's end", async () =>
      (await refused(port)) ===
      `${which}no program listens on it on 127.0.0.1 or ::1`
        ? true
        : undefined,
    );
  });

  test("is reached after the program that listens has left its parents", async () => {
    const run = await started();
    const { port, pid } = await listening(run, "127.0.0.1 orphan");
    const parent = () => statOf(pid)?.parent;
    await eventually("its parent's end", () =>
      descendantsOf([run.kernel.pid ?? 0]).includes(pid) ? undefined : parent(),
    );
    const connection = await run.kernel.forward(port);
    connection.end("sink\n");
    expect(await text(connection)).toMatch(/^0 /);
  });

  test("that is reset by its program breaks the connection with an error, and one that is destroyed here is reset there", async () => {
    const run = await started();
    const { port } = await listening(run);
    const first = await run.kernel.forward(port);
    const broken = once(first, "error");
    first.write("reset\n");
    await expect(broken).resolves.toMatchObject([{ code: "ECONNRESET" }]);
    const second = await run.kernel.forward(port);
    second.write("silent\n");
    second.destroy();
    await once(second, "close");
  });

  test("carries 50 MB each way while the kernel floods, with a reader that is slow; no line and no byte is lost", async () => {
    const run = await started();
    const { port } = await listening(run);
    const N = 50 * MIB;
    const expected = await digestOf(bytesOf(N));
    const LINES = 20_000;
    run.kernel.send(execute(`flood ${LINES} 400`, "the-flood"));
    // A connection that nobody reads.
    const stuck = await run.kernel.forward(port);
    stuck.write(`source ${N}\n`);
    stuck.pause();
    const source = await run.kernel.forward(port);
    source.write(`source ${N}\n`);
    const sink = await run.kernel.forward(port);
    sink.write("sink\n");
    bytesOf(N).pipe(sink);
    const [got, sank] = await Promise.all([
      digestOf(slowly(source)),
      text(sink),
      eventually(
        "the last line",
        () => (run.texts.length > LINES ? true : undefined),
        60_000,
      ),
    ]);
    expect(got).toBe(expected);
    expect(sank).toBe(expected);
    expect(counted(run.texts.slice(1))).toEqual(range(LINES));
    expect(stuck.readableLength).toBeLessThanOrEqual(WINDOW);
    expect(await digest(stuck)).toBe(expected);
  }, 120_000);
});

test(
  "a hundred connections whose program does not read take a bounded part of the keeper's memory, and stall no other",
  { timeout: 60_000, ...needsLinux },
  async () => {
    const run = await inKeeper();
    const { port } = await listening(run);
    const { kernel, place } = run;
    const before = residentBytes(place.keeperPid);
    for (let n = 0; n < 100; n += 1) {
      const stuck = await kernel.forward(port);
      stuck.write("silent\n");
      bytesOf(16 * MIB).pipe(stuck);
    }
    const sink = await kernel.forward(port);
    sink.write("sink\n");
    bytesOf(20 * MIB).pipe(sink);
    expect(await text(sink)).toBe(await digestOf(bytesOf(20 * MIB)));
    const grown = residentBytes(place.keeperPid) - before;
    expect(grown).toBeLessThan(100 * WINDOW * 2 + 60 * MIB);
    await kernel.stop(false);
  },
);

/** What the system has in memory for a process. */
function residentBytes(pid = 0): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** Reads in steps, with pauses in between. */
async function* slowly(stream: Duplex): AsyncGenerator<Buffer> {
  let read = 0;
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    const { length } = chunk as Buffer;
    if (Math.floor(read / MIB) !== Math.floor((read += length) / MIB)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    yield chunk as Buffer;
  }
}

async function* streamOf(all: string): AsyncGenerator<Buffer> {
  yield await Promise.resolve(Buffer.from(all));
}

describe("a keeper's stream that is cut", needsLinux, () => {
  test("breaks its connections at both ends, in the middle of the bytes; the next stream has new ones", async () => {
    const place = new Place();
    (await place.keeper(1)).close();
    const { socket = "" } =
      readKeeperFile(keeperFileIn(place.stateDirectory)) ?? {};
    const streams: Duplex[] = [];
    const link = await KeeperLink.open({
      connect() {
        const stream = connect(socket);
        streams.push(stream);
        return stream;
      },
      secret: SECRET,
      epoch: 2,
      log,
      whyGone: () => undefined,
    });
    onTestFinished(() => link.close());
    const collected = collecting();
    const recipe = place.recipe("witness");
    const kernel = await start(link, recipe, collected.hooks);
    const run = { place, kernel, ...collected };
    const { port, pid } = await listening(run);
    const sockets = () => connectionsOf(pid);
    const [up, down] = [await kernel.forward(port), await kernel.forward(port)];
    up.write("sink\n");
    bytesOf(500 * MIB).pipe(up);
    down.write(`source ${500 * MIB}\n`);
    let read = 0;
    down.on("data", (chunk: Buffer) => (read += chunk.length));
    const broken = [once(up, "error"), once(down, "error")];
    await eventually("bytes", () => read > 5 * MIB || undefined);
    expect(sockets()).toBe(2);
    streams[0]?.destroy();
    for (const error of broken) {
      await expect(error).resolves.toMatchObject([
        {
          code: "ECONNRESET",
          message: "the stream to its keeper was lost",
        },
      ]);
    }
    await eventually("the place's end", () => sockets() === 0 || undefined);
    await eventually("the next stream", () => link.isAttached || undefined);
    const again = await kernel.forward(port);
    again.end("sink\nagain");
    expect(await text(again)).toBe(await digestOf(streamOf("again")));
    await kernel.stop(false);
  }, 60_000);
});

/** How many connections the process has, beside the socket that listens. */
function connectionsOf(pid: number): number {
  const established = new Set(
    readFileSync("/proc/net/tcp", "latin1")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === "01")
      .map((fields) => `socket:[${fields[9]}]`),
  );
  return filesOf(pid).filter((file) => established.has(file)).length;
}

function filesOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((name) => {
    try {
      return readlinkSync(`${folder}/${name}`);
    } catch {
      return []; // it was closed meanwhile
    }
  });
}
