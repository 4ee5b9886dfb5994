/** `keeper attach`: a keeper's stream over the stdio of a program, as engines hand it over. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { Duplex } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { isAlive } from "../../src/host/process-table.ts";
import {
  FRAME_LIMIT,
  FrameReader,
  frameKinds,
  jsonFrame,
  MAGIC,
} from "../../src/keeper/frames.ts";
import { versions } from "../../src/keeper/hello.ts";
import { KeeperLink } from "../../src/keeper/link.ts";
import { silentLog } from "../../src/log/log.ts";
import { eventually } from "../harness.ts";
import { bytesOf, digestOf } from "../kernels/ports.ts";
import { needsLinux, needsPosix } from "../needs.ts";
import {
  collecting,
  counted,
  execute,
  Place,
  range,
  SECRET,
  start,
} from "./place.ts";
import { programOf } from "./programs.ts";

const MIB = 1024 * 1024;

function attach(directory: string) {
  const child = spawn(process.execPath, [
    programOf("keeper"),
    "attach",
    directory,
  ]);
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** What the program has written, and its exit code. */
async function ended(child: ReturnType<typeof attach>) {
  const [out, err] = [buffer(child.stdout), text(child.stderr)];
  const [code] = (await once(child, "close")) as [number];
  return { code, out: await out, err: await err };
}

test(
  "a server attaches over it; when it is killed, attaches again, and loses no line; its forwarded connections end with it",
  { timeout: 120_000, ...needsLinux },
  async () => {
    const place = new Place();
    (await place.keeper(1)).close();
    const children: ChildProcess[] = [];
    const link = await KeeperLink.open({
      connect() {
        const child = attach(place.stateDirectory);
        child.stderr.on("data", (chunk) => expect(String(chunk)).toBe(""));
        children.push(child);
        const { stdout: readable, stdin: writable } = child;
        return Duplex.from({ readable, writable });
      },
      secret: SECRET,
      epoch: 2,
      log: silentLog(),
      whyGone: () => undefined,
    });
    onTestFinished(() => link.close());
    const { texts, noted, hooks } = collecting();
    const kernel = await start(link, place.recipe("witness"), hooks);
    kernel.send(execute("listen 127.0.0.1", "listen"));
    const line = await eventually("the port", () => texts[0]);
    const port = Number(line.split(" ")[1]);
    const LINES = 30_000;
    const expected = await digestOf(bytesOf(20 * MIB));
    kernel.send(execute(`flood ${LINES} 400`, "the-flood"));
    const digestOfSource = async () => {
      const source = await kernel.forward(port);
      source.end(`source ${20 * MIB}\n`);
      return digestOf(source.iterator({ destroyOnReturn: false }));
    };
    expect(await digestOfSource()).toBe(expected);

    for (let kills = 1; kills <= 3; kills += 1) {
      const open = await kernel.forward(port);
      const broken = once(open, "error");
      open.write("echo\n");
      const before = texts.length;
      await eventually("lines", () =>
        texts.length > before || texts.length > LINES ? true : undefined,
      );
      children.at(-1)?.kill("SIGKILL");
      await expect(broken).resolves.toMatchObject([{ code: "ECONNRESET" }]);
      await eventually("the next stream", () =>
        link.isAttached && children.length > kills ? true : undefined,
      );
    }
    expect(await digestOfSource()).toBe(expected);
    await eventually(
      "the last line",
      () => (texts.length > LINES ? true : undefined),
      60_000,
    );
    expect(counted(texts.slice(1))).toEqual(range(LINES));
    expect(noted).toEqual(range(noted.length));
    await kernel.stop(false);
    link.close();
    const [last] = children.slice(-1);
    await eventually("its end", () => last?.exitCode ?? undefined);
    expect(last?.exitCode).toBe(0);
  },
);

test("it ends when its input ends", needsPosix, async () => {
  const place = new Place();
  await place.keeper(1);
  const child = attach(place.stateDirectory);
  await once(child.stdout, "readable");
  child.stdin.end();
  const { code, out, err } = await ended(child);
  expect([code, out.toString(), err]).toEqual([0, MAGIC.toString(), ""]);
});

test(
  "it ends when the keeper closes the stream, with all that the keeper has said",
  needsPosix,
  async () => {
    const place = new Place();
    await place.keeper(1);
    const child = attach(place.stateDirectory);
    const hello = { ...versions, secret: "a guess", epoch: 9, server: "x" };
    child.stdin.write(MAGIC);
    for (const piece of jsonFrame(frameKinds.hello, hello)) {
      child.stdin.write(piece);
    }
    const { code, out, err } = await ended(child);
    const [answer] = [...new FrameReader(FRAME_LIMIT).read(out)];
    expect(JSON.parse(String(answer?.body))).toMatchObject({
      refused: "secret",
    });
    expect([code, err]).toEqual([0, ""]);
  },
);

test(
  "without a keeper, only standard error says why there is none",
  needsPosix,
  async () => {
    const place = new Place();
    mkdirSync(place.stateDirectory);
    const none = await ended(attach(place.stateDirectory));
    expect([none.code, none.out.length]).toEqual([1, 0]);
    expect(none.err).toBe(
      `There is no keeper in ${place.stateDirectory}: ${place.stateDirectory}/keeper.json is missing, or cannot be read\n`,
    );
    (await place.keeper(1)).close();
    const pid = place.keeperPid ?? 0;
    process.kill(pid, "SIGKILL");
    await eventually("the keeper's end", () => !isAlive(pid) || undefined);
    const gone = await ended(attach(place.stateDirectory));
    expect([gone.code, gone.out.length, gone.err]).toEqual([
      1,
      0,
      `There is no keeper in ${place.stateDirectory}: its keeper is gone\n`,
    ]);
  },
);
