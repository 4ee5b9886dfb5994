/** Keepers that are killed, and state directories that cannot be written: what sessions say, and what goes on. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isAlive } from "../../src/host/process-table.ts";
import { eventually, ownWords } from "../harness.ts";
import { argvOf } from "../kernels/index.ts";
import { needs, needsPosix } from "../needs.ts";
import { recordingLog } from "../recording-log.ts";
import { KeptPlace, type KeptServer } from "./kept-place.ts";

function status(server: KeptServer, id: string): string {
  return server.server.supervisor.session(id).status;
}

function untilStatus(server: KeptServer, id: string, wanted: string) {
  return eventually(`${id} ${wanted}`, () =>
    status(server, id) === wanted ? true : undefined,
  );
}

describe("a keeper that is killed", needsPosix, () => {
  test("invariant 6: ends its kernels, also those that do not want to end; their sessions say why, and can be started again", async () => {
    const place = new KeptPlace();
    const server = await place.serve();
    await server.start("a");
    await server.start("b", "stubborn");
    await server.start("mine", "echo", { keep: false });
    await server.execute("a", "hello");
    const pids = await Promise.all(
      ["a", "b"].map(async (id) => {
        const { process_id } = await server.describe(id);
        return Number(process_id);
      }),
    );
    const running = server
      .ask("POST", "/sessions/a/execute", { code: "sleep 60000" })
      .then(({ text }) => text);
    await untilStatus(server, "a", "busy");
    const keeper = place.keeperPid ?? 0;
    process.kill(keeper, "SIGKILL");
    for (const id of ["a", "b"]) {
      await untilStatus(server, id, "exited");
      const { statusReason } = server.server.supervisor.session(id);
      expect(statusReason).toBe("its keeper is gone");
    }
    expect(await running).toContain("kernel_exited");
    await eventually("the kernels' end", () =>
      pids.some((pid) => isAlive(pid)) ? undefined : true,
    );
    expect(status(server, "mine")).toBe("idle"); // it never was in the keeper
    const texts = await server.journal("a");
    expect(texts.some((text) => text.includes("hello"))).toBe(true);
    // The next start has a keeper of its own.
    await server.ask("POST", "/sessions/a/start");
    await untilStatus(server, "a", "idle");
    expect(place.keeperPid).not.toBe(keeper);
  });

  test("invariant 6: while no server is there, its kernels are ended by the next one, and their sessions say why", async () => {
    const place = new KeptPlace();
    const first = await place.serve();
    await first.start("b", "stubborn");
    const { process_id } = await first.describe("b");
    await first.letGo();
    process.kill(place.keeperPid ?? 0, "SIGKILL");
    const next = await place.serve();
    await next.server.supervisor.session("b").restored;
    expect(status(next, "b")).toBe("exited");
    expect(next.server.supervisor.session("b").statusReason).toContain(
      "its keeper",
    );
    await eventually("the kernel's end", () =>
      isAlive(Number(process_id)) ? undefined : true,
    );
  });
});

const isRoot = process.getuid?.() === 0;
/** Permissions do not hold root back; a mount that is read-only does. */
const canMount = (() => {
  if (!isRoot || process.platform !== "linux") return false;
  const folder = "/tmp/kc-mount-probe";
  try {
    mkdirSync(folder, { recursive: true });
    execFileSync("mount", ["--bind", folder, folder], { stdio: "ignore" });
    execFileSync("umount", [folder]);
    rmdirSync(folder);
    return true;
  } catch {
    return false;
  }
})();

/** Whoever opens a file there for writing fails. Files that are open stay so. */
function makeReadOnly(folder: string): () => void {
  mkdirSync(folder, { recursive: true });
  if (!isRoot) {
    chmodSync(folder, 0o500);
    return () => chmodSync(folder, 0o700);
  }
  execFileSync("mount", ["--bind", folder, folder]);
  execFileSync("mount", ["-o", "remount,ro,bind", folder]);
  return () => execFileSync("umount", ["-l", folder]);
}

describe(
  "a state directory that is read-only",
  needs(
    canMount || (!isRoot && process.platform !== "win32"),
    "a user without special rights, or the right to mount a file system",
  ),
  () => {
    test("is named at the start, with the reason", async () => {
      const place = new KeptPlace();
      const makeWritable = makeReadOnly(place.root);
      const refused = place.serve().catch((error: unknown) => error);
      const error = (await refused) as Error;
      makeWritable();
      expect(error.message).toMatch(
        /^The state directory \S+ cannot be used: (EROFS|EACCES): .*\. Make it writable, or give another one with --state-dir$/,
      );
      expect(error.message).toContain(place.state);
      await (await place.serve()).start("a");
    });

    test("while the server runs is named; the kernels, their readers and new code go on", async () => {
      const place = new KeptPlace();
      const { log, lines } = recordingLog();
      const server = await place.serve({}, log);
      await server.start("a");
      await server.start("b");
      await server.execute("a", "before");
      const makeWritable = makeReadOnly(join(place.state, "sessions"));
      try {
        for (let n = 1; n <= 3; n += 1) {
          await server.execute("a", `during ${n}`);
          await server.execute("b", `during ${n}`);
        }
        await server.ask("PUT", "/sessions/a/labels", { labels: { k: "v" } });
        await eventually("the warning", () =>
          lines.some((line) => /EROFS|EACCES/.test(JSON.stringify(line)))
            ? true
            : undefined,
        );
        const made = await server.ask("PUT", "/sessions", {
          session_id: "c",
          ...ownWords,
          argv: argvOf("echo"),
        });
        expect(made.status).toBe(400);
        expect(made.text).toMatch(
          /the session cannot be kept: (EROFS|EACCES): .*Make the server's state directory writable/,
        );
      } finally {
        makeWritable();
      }
      await server.start("d");
      await server.execute("a", "after");
      for (const id of ["a", "b"]) {
        const texts = (await server.journal(id)).join("\n");
        expect(texts).toContain("during 1");
        expect(texts).toContain("during 3");
      }
      // What was written then is found by the next server.
      await server.letGo();
      const next = await place.serve();
      await next.server.supervisor.session("a").restored;
      expect(status(next, "a")).toBe("idle");
      expect((await next.journal("a")).join("\n")).toContain("after");
      expect(next.server.supervisor.session("a").labels).toEqual({ k: "v" });
    });
  },
);
