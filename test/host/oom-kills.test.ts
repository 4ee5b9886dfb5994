/** Kernels that Linux kills because there is no memory left: how the server finds it out, and what clients see. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { oomKillsOf } from "../../src/host/oom-kills.ts";
import { eventually, openServer, temporaryFolder } from "../harness.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import { inGroup, LIMIT, limitedGroup, needsGroup } from "../limited-group.ts";
import { Client } from "../server/jupyter-client.ts";

/** What the system describes, as files of a folder. */
class Described {
  readonly folder = temporaryFolder();
  readonly proc = join(this.folder, "proc");

  /** `cgroup`: the process's groups. `mounts`: the line for each mount, with the folder in place of `@`. */
  constructor(cgroup: string, mounts: readonly string[]) {
    this.write("proc/7/cgroup", `${cgroup}\n`);
    const lines = mounts.map((line) => line.replace("@", this.folder));
    this.write("proc/self/mountinfo", `${lines.join("\n")}\n`);
  }

  write(file: string, text: string): void {
    const path = join(this.folder, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  remove(path: string): void {
    rmSync(join(this.folder, path), { recursive: true });
  }

  events(group: string, count: number): void {
    const text = `low 0\nhigh 0\nmax 12\noom 9\noom_kill ${count}\noom_group_kill 0\n`;
    this.write(join("cg", group, "memory.events"), text);
  }
}

const TWO =
  "29 23 0:26 / @/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";

describe("the count of kills for lack of memory", () => {
  test("is that of the process's own group, in version 2", () => {
    const system = new Described("0::/user.slice/kernel.scope", [TWO]);
    system.events("user.slice/kernel.scope", 2);
    system.events("user.slice", 5);
    const kills = oomKillsOf(7, system.proc);
    expect(kills.haveRisen).toBe(false);
    system.events("user.slice", 6); // in another scope
    expect(kills.haveRisen).toBe(false);
    system.events("user.slice/kernel.scope", 3);
    expect(kills.haveRisen).toBe(true);
  });

  test("is that of the nearest group above if its own was removed with the process", () => {
    const system = new Described("0::/user.slice/app.slice/k.scope", [TWO]);
    system.events("user.slice/app.slice/k.scope", 0);
    system.events("user.slice/app.slice", 1);
    const kills = oomKillsOf(7, system.proc);
    system.remove("cg/user.slice/app.slice/k.scope");
    expect(kills.haveRisen).toBe(false);
    system.events("user.slice/app.slice", 2);
    expect(kills.haveRisen).toBe(true);
  });

  test("follows a process that was moved into another group", () => {
    const system = new Described("0::/a", [TWO]);
    system.events("a", 0);
    system.events("b", 7);
    const kills = oomKillsOf(7, system.proc);
    system.write("proc/7/cgroup", "0::/b\n");
    kills.note();
    system.events("a", 1);
    expect(kills.haveRisen).toBe(false);
    system.events("b", 8);
    expect(kills.haveRisen).toBe(true);
  });

  test("is read in version 1, too, also beside version 2", () => {
    const system = new Described(
      "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/",
      [
        TWO,
        "35 32 0:30 /docker/abc @/old\\040mem ro - cgroup cgroup rw,memory",
      ],
    );
    const control = (count: number) =>
      system.write(
        "old mem/memory.oom_control",
        `oom_kill_disable 0\nunder_oom 0\noom_kill ${count}\n`,
      );
    control(1);
    const kills = oomKillsOf(7, system.proc);
    expect(kills.haveRisen).toBe(false);
    control(2);
    expect(kills.haveRisen).toBe(true);
  });

  test("in a container that sees no other groups, is that of the container", () => {
    const system = new Described("0::/../../elsewhere", [TWO]);
    system.events(".", 0);
    const kills = oomKillsOf(7, system.proc);
    system.events(".", 1);
    expect(kills.haveRisen).toBe(true);
  });

  test("is not known where the system has none", () => {
    expect(oomKillsOf(7, join(temporaryFolder(), "proc")).haveRisen).toBe(
      false,
    );
    const system = new Described("0::/a", [TWO]);
    expect(oomKillsOf(7, system.proc).haveRisen).toBe(false);
  });
});

const group = limitedGroup();

/** Starts a kernel in the group. */
async function kernelInGroup() {
  const folder = temporaryFolder();
  const directory = join(folder, "kernels", "limited");
  mkdirSync(directory, { recursive: true });
  const spec = {
    argv: inGroup(group ?? "", [
      pythonWithIpykernel ?? "python3",
      ..."-m ipykernel_launcher -f {connection_file}".split(" "),
    ]),
    display_name: "Limited",
    language: "python",
  };
  writeFileSync(join(directory, "kernel.json"), JSON.stringify(spec));
  const server = await openServer({ kernelspecDirs: [folder] });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const { body } = await server.ask("POST", "/api/kernels", {
    name: "limited",
  });
  const { id, session_id } = body as { id: string; session_id: string };
  const policy = `/sessions/${session_id}/policy`;
  await server.ask("PUT", policy, { autorestart: null });
  const model = async () => {
    const kernel = await server.ask("GET", `/api/kernels/${id}`);
    return kernel.body as Readonly<Record<string, unknown>>;
  };
  const untilState = (state: string) =>
    eventually(
      state,
      async () => {
        const kernel = await model();
        return kernel["execution_state"] === state ? kernel : undefined;
      },
      30_000,
    );
  await untilState("idle");
  return { server, id, session_id, untilState };
}

const here = {
  timeout: 90_000,
  ...needsGroup(group, pythonWithIpykernel !== undefined),
};

test(
  "a kernel that runs out of memory is dead for this reason, in its model, in the output of the code, and in the journal",
  here,
  async () => {
    const { server, id, session_id, untilState } = await kernelInGroup();
    const client = await Client.open(server, id);
    const code = `x = bytearray(${LIMIT * 4})`;
    const msg_id = client.send("execute_request", { code });
    const dead = await untilState("dead");
    expect(dead).toMatchObject({
      reason: "child process exited: signal SIGKILL (out of memory)",
      exit: { code: -1, signal: "SIGKILL", oom: true },
    });
    const told = await eventually("the output", () =>
      client.received.find(
        ({ header, parent_header }) =>
          header.msg_type === "stream" && parent_header.msg_id === msg_id,
      ),
    );
    expect(told.content["text"]).toContain(
      "The kernel died: signal SIGKILL (out of memory)",
    );
    const { body } = await server.ask("GET", `/sessions/${session_id}/history`);
    expect(body).toBeDefined();
  },
);

test("a kernel that somebody else kills has no such reason", here, async () => {
  const { server, id, untilState } = await kernelInGroup();
  const { body } = await server.ask("GET", `/api/kernels/${id}`);
  process.kill((body as { pid: number }).pid, "SIGKILL");
  const dead = await untilState("dead");
  expect(dead["reason"]).toBe("child process exited: signal SIGKILL");
  expect(dead["exit"]).toEqual({ code: -1, signal: "SIGKILL" });
});
