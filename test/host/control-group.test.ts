/** Control groups for kernels: which groups of the system are used, and what is written. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import {
  controlGroup,
  groupWithCores,
  settingsOf,
  whyNoControlGroup,
} from "../../src/host/control-group.ts";
import { descendantsOf } from "../../src/host/process-table.ts";
import { bundled } from "../bundled.ts";
import { eventually, temporaryFolder } from "../harness.ts";
import { needs, needsLinux } from "../needs.ts";

const LIMITS = settingsOf({ cpus: 1.5, memory_bytes: 1_000_000 });

/** What the system describes, as files of a folder. */
class Described {
  readonly folder = temporaryFolder();
  readonly proc = join(this.folder, "proc");

  constructor(group: string, controllers = "cpu memory pids") {
    const mount = "29 23 0:26 / @/cg rw - cgroup2 cgroup2 rw";
    this.write("proc/self/cgroup", `0::${group}\n`);
    this.write("proc/self/mountinfo", mount.replace("@", this.folder));
    for (const at of [dirname(group), group]) {
      this.write(join("cg", at, "cgroup.controllers"), `${controllers}\n`);
      this.write(join("cg", at, "cgroup.subtree_control"), "\n");
      this.write(join("cg", at, "cgroup.procs"), "");
    }
  }

  write(file: string, content: string): void {
    const path = join(this.folder, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }

  read(file: string): string {
    return readFileSync(join(this.folder, "cg", file), "utf8");
  }
}

test(
  "a process that runs without a group gets one for its cores, with what it has started",
  needsLinux,
  async () => {
    const system = new Described("/k.service/server");
    const child = spawn("/bin/sh", ["-c", "sleep 1000 & wait"]);
    const pid = child.pid ?? 0;
    const [started] = await eventually("its child", () => {
      const found = descendantsOf([pid]);
      return found.length > 0 ? found : undefined;
    });
    onTestFinished(() => {
      for (const one of [started ?? 0, pid]) process.kill(one, "SIGKILL");
    });
    expect(groupWithCores(null, pid, undefined, system.proc)).toBeUndefined();
    const group = groupWithCores(1.5, pid, undefined, system.proc);
    const names = readdirSync(join(system.folder, "cg/k.service"));
    const name = names.find((one) => one.startsWith("kallichore-")) ?? "";
    const of = (file: string) => system.read(join("k.service", name, file));
    expect(of("cpu.max")).toBe("150000 100000");
    expect(of("cgroup.procs")).toBe(String(started)); // written last
    expect(groupWithCores(null, pid, group, system.proc)).toBe(group);
    expect(of("cpu.max")).toBe("max 100000");
    expect(() =>
      groupWithCores(1, pid, undefined, new Described("/").proc),
    ).toThrow("no control group was delegated to this process");
  },
);

test(
  "a group takes a limit whose controller was not used before",
  needsLinux,
  () => {
    const system = new Described("/k.service/server");
    const group = controlGroup(settingsOf({ memory_bytes: 5 }), system.proc);
    const control = join("k.service", "cgroup.subtree_control");
    expect(system.read(control)).toBe("+memory");
    group.set(settingsOf({ cpus: 2 }));
    expect(system.read(control)).toBe("+cpu");
    group[Symbol.dispose]();
  },
);

describe("a group for a kernel", needsLinux, () => {
  test("lies beside the server's, and has its limits and the process", () => {
    const system = new Described("/app.slice/k.service/server");
    expect(whyNoControlGroup(LIMITS, system.proc)).toBeUndefined();
    const group = controlGroup(LIMITS, system.proc);
    group.add(4711);
    const service = "app.slice/k.service";
    expect(system.read(join(service, "cgroup.subtree_control"))).toBe(
      "+cpu +memory",
    );
    const names = readdirSync(join(system.folder, "cg", service));
    const name = names.find((one) => one.startsWith("kallichore-")) ?? "";
    const of = (file: string) => system.read(join(service, name, file));
    expect(of("cpu.max")).toBe("150000 100000");
    expect(of("memory.max")).toBe("1000000");
    expect(of("memory.oom.group")).toBe("1");
    expect(of("cgroup.procs")).toBe("4711");
    group.set(settingsOf({ cpus: 0.5, memory_bytes: null }));
    expect([of("cpu.max"), of("memory.max")]).toEqual(["50000 100000", "max"]);
    group.set(settingsOf({ cpus: null }));
    expect([of("cpu.max"), of("memory.max")]).toEqual(["max 100000", "max"]);
    group[Symbol.dispose]();
    expect(of("cgroup.kill")).toBe("1");
  });

  test.each([
    [
      "the server's own group is all that it sees",
      () => new Described("/").proc,
      /no control group was delegated to this process/,
    ],
    [
      "the group above is a slice of systemd",
      () => new Described("/user.slice/terminal.scope").proc,
      /no control group was delegated/,
    ],
    [
      "a controller is missing",
      () => new Described("/k.service/server", "memory pids").proc,
      /k\.service has no controller for cpu/,
    ],
    ["the system has none", () => "/nothing", /no control groups of version 2/],
  ])("cannot be made if %s", (_, procOf, why) => {
    const proc = procOf();
    expect(whyNoControlGroup(LIMITS, proc)).toMatch(why);
    expect(() => controlGroup(LIMITS, proc)).toThrow(why);
  });
});

/** A real group that is delegated to a test, with a controller of version 2; `undefined` if this machine lets us make none. */
function delegatedGroup() {
  const mounts = read("/proc/self/mountinfo");
  const [, mount] = /^\S+ \S+ \S+ \/ (\S+) .* - cgroup2 /m.exec(mounts) ?? [];
  if (mount === undefined) return undefined;
  const there = read(join(mount, "cgroup.controllers"));
  const [file, value] = /\bcpu\b/.test(there)
    ? ["cpu.max", "50000 100000"]
    : ["hugetlb.2MB.max", "2097152"];
  const [controller = ""] = file.split(".");
  const parent = join(mount, `kallichore-tests-${process.pid}`);
  const own = join(parent, "server");
  try {
    if (!there.includes(controller)) return undefined;
    mkdirSync(own, { recursive: true });
    const control = join(mount, "cgroup.subtree_control");
    const isEnabled = read(control).includes(controller);
    if (!isEnabled) writeFileSync(control, `+${controller}`);
    afterAll(() => {
      rmdirSync(own);
      rmdirSync(parent);
      if (!isEnabled) writeFileSync(control, `-${controller}`);
    });
    return { mount, parent, own, file, value };
  } catch {
    return undefined;
  }
}

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

const delegated = delegatedGroup();

test(
  "a real group takes the process, has the limit, and goes with its processes",
  {
    timeout: 30_000,
    ...needs(
      delegated !== undefined,
      "the right to make control groups of version 2",
    ),
  },
  async () => {
    const { mount = "", parent = "", own = "", file, value } = delegated ?? {};
    const folder = bundled(
      "kallichore-test-grouping",
      { grouping: "test/host/grouping.ts" },
      {},
    );
    const child = spawn(
      "/bin/sh",
      [
        "-c",
        `echo $$ > ${own}/cgroup.procs; exec "$@"`,
        "sh",
        process.execPath,
        join(folder, "grouping.js"),
        mount,
        file ?? "",
        value ?? "",
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const printed = text(child.stdout);
    await once(child, "exit");
    const { own: group, ...rest } = JSON.parse(await printed) as {
      own: string;
    };
    expect(join(mount, dirname(group))).toBe(parent);
    expect(rest).toEqual({
      limit: value,
      signal: "SIGKILL",
      isThere: false,
      unknown: `${parent} has no controller for nothing`,
    });
  },
);
