/** Commands for sessions that outlive the server. */
import { execFileSync } from "node:child_process";
import {
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { isAlive } from "../../src/host/process-table.ts";
import { eventually } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { ServerProcess } from "../stress/server-process.ts";
import { Room, useCommand } from "./kallichore.ts";
import { endKeeping, serveKeeping, stateIn } from "./keeping.ts";

useCommand();

describe("sessions that outlive the server", needsPosix, () => {
  test("are listed with their keeper, and with the time of their last client", async () => {
    await using room = new Room();
    const server = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "a"]);
    const { body } = await server.ask("GET", "/sessions/a");
    const { keeper_process_id: pid } = body as { keeper_process_id: number };
    const listed = await room.run(["ps"]);
    const [head = "", row = ""] = listed.stdout.split("\n");
    expect(head).toMatch(/KEPT +CLIENT$/);
    expect(row).toMatch(new RegExp(` keeper ${pid} +\\d+ s ago$`));
    await room.run(["stop", "a"]);
    const ended = await room.run(["ps"]);
    expect(ended.stdout).toMatch(/ yes +\d+ s ago\n/);
    await endKeeping(room, server);
  });
});

describe("keeper attach", needsPosix, () => {
  test("carries the keeper's stream, and nothing else", async () => {
    await using room = new Room();
    const none = await room.run(["keeper", "attach", "no-such-directory"]);
    expect([none.code, none.stdout]).toEqual([3, ""]);
    expect(none.stderr).toContain(
      "There is no keeper in no-such-directory: no-such-directory/keeper.json is missing, or cannot be read",
    );
    const server = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "a"]);
    const directory = stateIn(room);
    for (const which of [[directory], ["--state-dir", dirname(directory)]]) {
      const attached = room.start(["keeper", "attach", ...which]);
      await attached.until("KKPR");
      attached.child.stdin?.end();
      const { code, stdout, stderr } = await attached.ended();
      expect([code, stdout, stderr]).toEqual([0, "KKPR", ""]);
    }
    await room.run(["stop", "a"]);
    await endKeeping(room, server);
  });
});

describe("sessions prune", needsPosix, () => {
  test("deletes sessions whose kernels have ended, and no others", async () => {
    await using room = new Room();
    const server = await serveKeeping(room);
    const ask = (path: string, body?: unknown) =>
      server.ask(body === undefined ? "POST" : "PUT", path, body);
    for (const id of ["old", "stats", "running"]) {
      await room.run(["start", "echo", "--id", id]);
    }
    await ask("/sessions", { session_id: "never", kernel_name: "echo" });
    await ask("/sessions/stats/labels", { labels: { team: "stats" } });
    await room.run(["stop", "old", "stats"]);
    const prune = (...args: string[]) =>
      room.run(["sessions", "prune", ...args]);
    const ids = async () => {
      const { stdout } = await room.run(["ps", "--json"]);
      const { sessions } = JSON.parse(stdout) as {
        sessions: { session_id: string }[];
      };
      return sessions.map(({ session_id }) => session_id);
    };

    const dry = await prune("--dry-run");
    expect([dry.code, dry.stdout.split("\n").length]).toEqual([0, 4]);
    expect(dry.stdout).toMatch(/^old +The echo kernel|^old +echo/m);
    const young = await prune("--older-than", "1h");
    expect(young).toMatchObject({ code: 0, stderr: "Nothing to delete\n" });
    expect(await ids()).toEqual(["old", "stats", "running", "never"]);

    const labelled = await prune("--label", "team=stats", "--json");
    expect(JSON.parse(labelled.stdout)).toEqual({
      sessions: ["stats"],
      attached: [],
      failures: [],
    });
    const attached = room.start(["attach", "old", "--json"]);
    await attached.until("\n");
    expect((await prune()).stderr).toBe(
      "old stays: a client is attached to it\nNothing to delete\n",
    );
    attached.child.stdin?.end();
    attached.child.kill("SIGTERM");
    await attached.ended();
    await eventually("the client has left", async () => {
      const { body } = await server.ask("GET", "/sessions/old");
      return "detached" in (body as object) ? true : undefined;
    });
    expect((await prune("--older-than", "0s")).stderr).toBe("Deleted old\n");
    expect(await ids()).toEqual(["running", "never"]);
    expect((await prune("--older-than", "soon")).code).toBe(64);
    expect((await room.run(["sessions"])).code).toBe(64);
    await endKeeping(room, server);
  });
});

interface Examined {
  readonly states: readonly Record<string, unknown>[];
  readonly findings: readonly {
    readonly kind: string;
    readonly message: string;
    readonly mends: readonly { purpose: string; command: string }[];
  }[];
}

class Doctor {
  readonly #room: Room;

  constructor(room: Room) {
    this.#room = room;
  }

  async examine(): Promise<Examined & { readonly code: number | null }> {
    const root = join(this.#room.folder, "state");
    const { stdout, code } = await this.#room.run([
      ...["doctor", "--json", "--state-dir", root],
    ]);
    return { ...(JSON.parse(stdout) as Examined), code };
  }

  async kinds(): Promise<string[]> {
    return (await this.examine()).findings.map(({ kind }) => kind);
  }

  /** The command line of a finding. */
  async mend(kind: string, purpose: string): Promise<string> {
    const { findings } = await this.examine();
    const found = findings.find((finding) => finding.kind === kind);
    const mend = found?.mends.find((one) => one.purpose.startsWith(purpose));
    if (mend === undefined) throw new Error(`No ${kind}: ${purpose}`);
    return mend.command;
  }

  /** Does what a person does: gives the line to a shell. */
  async follow(kind: string, purpose: string): Promise<void> {
    const line = await this.mend(kind, purpose);
    expect(line).toMatch(/^(kill|rm|mv) /);
    execFileSync("sh", ["-c", line]);
  }
}

/** The words of a line without quotes, after `kallichore`. */
function wordsIn(line: string): string[] {
  expect(line).toMatch(/^kallichore [\w./ -]+$/);
  return line.split(" ").slice(1);
}

describe("doctor", needsPosix, () => {
  test("finds nothing where all is well, and says who uses a state", async () => {
    await using room = new Room();
    const doctor = new Doctor(room);
    expect(await doctor.examine()).toMatchObject({ code: 0, states: [] });
    const server = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "a"]);
    const { code, findings, states } = await doctor.examine();
    expect([code, findings]).toEqual([0, []]);
    expect(states).toMatchObject([
      { name: "default", server_pid: server.pid, kernels: 1, sessions: 1 },
    ]);
    const shown = await room.run([
      ...["doctor", "--state-dir", join(room.folder, "state")],
    ]);
    expect(shown.stderr).toBe("Nothing is left to mend\n");
    expect(shown.stdout).toMatch(/^default +\d+ +\d+ +1 +1 /m);
    await endKeeping(room, server);
  });

  test("of a server that was killed finds the kernels, and the command that goes on with them", async () => {
    await using room = new Room();
    const doctor = new Doctor(room);
    const killed = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "a"]);
    killed.signal("SIGKILL");
    await killed.running.ended();
    const before = readdirSync(stateIn(room)).sort();
    const { code, findings } = await doctor.examine();
    expect(code).toBe(4);
    expect(findings.map(({ kind }) => kind).sort()).toEqual([
      "dead_lock",
      "dead_record",
      "no_server",
    ]);
    expect(readdirSync(stateIn(room)).sort()).toEqual(before); // it only reads
    const line = await doctor.mend("no_server", "go on");
    const [, ...args] = wordsIn(line);
    const next = await ServerProcess.in(room, args);
    expect(await doctor.kinds()).toEqual([]);
    const run = await room.run(["exec", "-s", "a", "--", "hello"]);
    expect([run.code, run.stdout]).toEqual([0, "hellohello\n"]);
    await endKeeping(room, next);
  });

  test("finds kernels whose keeper was killed, files of dead processes, and what nobody can read", async () => {
    await using room = new Room();
    const doctor = new Doctor(room);
    const server = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "orphan"]);
    await room.run(["start", "echo", "--id", "broken"]);
    await room.run(["stop", "broken"]);
    const { body } = await server.ask("GET", "/sessions/orphan");
    const { keeper_process_id, process_id } = body as Record<string, number>;
    server.signal("SIGKILL");
    await server.running.ended();
    // A kernel that does not notice that its keeper is gone.
    process.kill(process_id ?? 0, "SIGSTOP");
    process.kill(keeper_process_id ?? 0, "SIGKILL");
    await gone(keeper_process_id ?? 0);
    expect(await doctor.kinds()).toEqual(
      expect.arrayContaining(["orphan_kernel", "unused_state"]),
    );
    const rescue = await doctor.mend("orphan_kernel", "save the work");
    const [, file = ""] =
      /^jupyter console --existing (\S+)$/.exec(rescue) ?? [];
    expect(JSON.parse(readFileSync(file, "utf8"))).toHaveProperty("shell_port");
    const end = await doctor.mend("orphan_kernel", "end it");
    expect(end).toBe(`kill ${process_id}`);
    process.kill(process_id ?? 0, "SIGKILL"); // what kill sends waits until it goes on
    await gone(process_id ?? 0);
    await doctor.follow("dead_files", "remove");
    expect(readdirSync(join(room.folder, "tmp"))).toEqual([]);
    await doctor.follow("dead_lock", "remove");
    await room.run(wordsIn(await doctor.mend("dead_record", "remove")));
    expect(await doctor.kinds()).toEqual(["unused_state"]);

    const folder = join(stateIn(room), "sessions");
    const [one = ""] = readdirSync(folder);
    writeFileSync(join(folder, one, "session.json"), '{"format":');
    expect(await doctor.kinds()).toEqual([
      "unused_state",
      "unreadable_session",
    ]);
    await doctor.follow("unreadable_session", "put it aside");
    expect(await doctor.kinds()).toEqual(["unused_state"]);
    expect(readdirSync(stateIn(room))).toContain(`unreadable-${one}`);

    await doctor.follow("unused_state", "delete it");
    expect(await doctor.examine()).toMatchObject({ code: 0, states: [] });
  });

  test("finds keepers of states that are elsewhere, and of states that are gone", async () => {
    await using room = new Room();
    const doctor = new Doctor(room);
    const server = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "a"]);
    server.signal("SIGKILL");
    await server.running.ended();
    const elsewhere = join(room.folder, "elsewhere");
    renameSync(join(room.folder, "state"), elsewhere);
    await room.run(["servers"]);
    if (process.platform === "linux") {
      expect(await doctor.mend("unknown_keeper", "go on")).toBe(
        `kallichore serve --keep --state-dir ${elsewhere}`,
      );
    }
    rmSync(elsewhere, { recursive: true });
    expect(await doctor.mend("unknown_keeper", "save the work")).toContain(
      "jupyter console --existing",
    );
    await doctor.follow("unknown_keeper", "end it and its kernels");
    await eventually("all is gone", async () =>
      (await doctor.kinds()).length === 0 ? true : undefined,
    );
  });
});

function gone(pid: number): Promise<true> {
  return eventually("its end", () => (isAlive(pid) ? undefined : true));
}

describe("state", needsPosix, () => {
  test("is moved as one file, and another server reads its histories", async () => {
    await using room = new Room();
    const root = join(room.folder, "state");
    const file = join(room.folder, "archive");
    const moving = (...args: string[]) =>
      room.run(["state", ...args, "--state-dir", root]);
    const server = await serveKeeping(room);
    await room.run(["start", "echo", "--id", "a"]);
    await room.run(["exec", "-s", "a", "--", "hello"]);
    const used = await moving("export", file);
    expect(used.code).toBe(3);
    expect(used.stderr).toContain(
      `is used by the process with the id ${server.pid}`,
    );
    server.signal("SIGTERM");
    await server.running.ended();

    const written = await moving("export", file);
    expect(written.code).toBe(0);
    expect(written.stderr).toContain("Wrote 1 session (");
    expect(written.stderr).toContain("Its kernels stay here");
    const again = await moving("export", file);
    expect([again.code, again.stderr]).toEqual([
      3,
      `kallichore: The state default cannot be exported: The file ${file} exists already\n`,
    ]);
    const taken = await moving("import", file);
    expect(taken.code).toBe(3);
    expect(taken.stderr).toContain("give the new one another name");
    const made = await moving("import", file, "--state-name", "moved");
    expect(made.stderr).toContain(
      `kallichore serve --keep --state-dir ${root} --state-name moved`,
    );
    expect(await new Doctor(room).kinds()).toEqual([
      "no_server",
      "unused_state",
    ]);

    const moved = await serveKeeping(room, "--state-name", "moved");
    await eventually("the end of its kernel", async () => {
      const { body } = await moved.ask("GET", "/sessions/a");
      return "ended" in (body as object) ? true : undefined;
    });
    const history = await moved.ask("GET", "/sessions/a/history");
    expect(history.text).toContain("hello");
    await moved.ask("POST", "/shutdown");
    await moved.running.ended();
    const back = await serveKeeping(room);
    expect((await room.run(["exec", "-s", "a", "--", "there"])).code).toBe(0);
    await endKeeping(room, back);
  });
});
