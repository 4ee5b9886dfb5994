/** Which starts take a warm kernel, and how many warm kernels there are. With kernels in memory, by a clock that the test sets. */
import {
  afterEach,
  beforeEach,
  expect,
  onTestFinished,
  test,
  vi,
} from "vitest";
import type { Hooks, Kernel, Recipe } from "../../src/kernel/kernel.ts";
import { WarmKernels } from "../../src/kernel/warm.ts";
import { recordingLog } from "../recording-log.ts";
import {
  type FakeKernel,
  FakeProvisioner,
  SPEC,
} from "../session/fake-kernel.ts";

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ["performance", "setTimeout", "clearTimeout", "Date"],
  });
});
afterEach(() => vi.useRealTimers());

const RECIPE: Recipe = { ...SPEC, connection: undefined, timeout_ms: 30_000 };

/** What a session's hooks were called with, in order. */
function recorded(): { hooks: Hooks; calls: string[] } {
  const calls: string[] = [];
  const note =
    (name: string) =>
    (...args: unknown[]): undefined => {
      const [first] = args;
      const word =
        typeof first === "string" || typeof first === "boolean"
          ? ` ${first}`
          : "";
      calls.push(`${name}${word}`);
      return undefined;
    };
  const hooks = new Proxy({} as Hooks, {
    get: (_, name) => note(String(name)),
  });
  return { hooks, calls };
}

interface Setting {
  readonly provisioner: FakeProvisioner;
  readonly warm: WarmKernels;
  readonly lines: ReturnType<typeof recordingLog>["lines"];
  /** Changes what a session of the kernelspec would launch; an error: it cannot be used. */
  spec: Partial<Recipe> | Error;
  readonly take: (recipe?: Partial<Recipe>) => Promise<Kernel>;
}

async function setting({
  count = 1,
  begin = true,
  room,
}: {
  count?: number;
  begin?: boolean;
  room?: () => number;
} = {}): Promise<Setting> {
  const provisioner = new FakeProvisioner();
  const { log, lines } = recordingLog();
  const made: Setting = {
    provisioner,
    lines,
    spec: {},
    warm: new WarmKernels({
      provisioner,
      host: {
        environment: ({ actions = [] }) =>
          Object.fromEntries(actions.map(({ name, value }) => [name, value])),
      },
      log,
      prespawn: [{ kernel_name: "fake", count }],
      room,
      recipeOf: (_, session_id) =>
        made.spec instanceof Error
          ? Promise.reject(made.spec)
          : Promise.resolve({ ...RECIPE, ...made.spec, session_id }),
    }),
    take: (recipe = {}) =>
      made.warm.launch(
        { ...RECIPE, ...recipe },
        recorded().hooks,
        new AbortController().signal,
      ),
  };
  onTestFinished(() => made.warm[Symbol.asyncDispose]());
  if (begin) {
    made.warm.begin();
    await pass(0);
  }
  return made;
}

function pass(ms: number): Promise<unknown> {
  return vi.advanceTimersByTimeAsync(ms);
}

const replace = (name: string, value: string) =>
  ({ action: "replace", name, value }) as const;

test("so many are started, one after the other, and a kernel that is taken is replaced", async () => {
  const { provisioner, warm, take } = await setting({ count: 2 });
  expect(provisioner.kernels).toHaveLength(2);
  const [first, second] = provisioner.kernels;
  expect(await take()).toBe(first);
  await pass(0);
  expect(provisioner.kernels).toHaveLength(3);
  expect(await take()).toBe(second);
  await pass(0);
  expect(warm.state[0]?.pids).toHaveLength(2);
});

test("no more are started than the limit on kernels has room for, and the reason is told", async () => {
  let room = 2;
  const { warm, take, provisioner } = await setting({
    count: 3,
    room: () => room,
  });
  expect(warm.state[0]?.pids).toHaveLength(2);
  expect(warm.state[0]?.problem).toContain("no room");

  // A session takes one of them: as many run as before.
  room = 1;
  await take();
  await pass(0);
  expect(provisioner.kernels).toHaveLength(2);
  expect(warm.state[0]?.pids).toHaveLength(1);

  // Its kernel ends.
  room = 3;
  warm.roomChanged();
  await pass(0);
  expect(warm.state[0]?.pids).toHaveLength(3);
  expect(warm.state[0]?.problem).toBeUndefined();
});

test("a start that takes none of them ends one that is too many", async () => {
  let room = 2;
  const { warm, take } = await setting({ count: 2, room: () => room });
  room = 1;
  await take({ argv: ["other"] });
  await pass(0);
  expect(warm.state[0]?.pids).toHaveLength(1);
});

test.each<[string, Partial<Recipe>]>([
  ["another command", { argv: ["other"] }],
  ["another directory", { working_directory: "/tmp" }],
  ["another variable", { env: [replace("A", "1")] }],
  ["another way to interrupt", { interrupt_mode: "message" }],
  ["a shell", { startup_environment: "shell" }],
  ["a kernel that registers", { protocol_version: "5.5" }],
  ["another kind of sockets", { kernel_sockets: "ipc" }],
  [
    "another directory in a variable",
    { env: [replace("KERNEL_WORKING_DIR", "/tmp")] },
  ],
  [
    "addresses that a client was told",
    {
      connection: {
        control_port: 1,
        shell_port: 2,
        stdin_port: 3,
        hb_port: 4,
        iopub_port: 5,
        signature_scheme: "hmac-sha256",
        key: "",
        transport: "tcp",
        ip: "127.0.0.1",
      },
    },
  ],
])("a start with %s launches its own kernel", async (_, recipe) => {
  const { provisioner, take } = await setting();
  expect(await take(recipe)).not.toBe(provisioner.kernels[0]);
});

test.each<[string, Partial<Recipe>]>([
  [
    "another session, user and key",
    { session_id: "b", username: "u", key: "k" },
  ],
  ["another timeout", { timeout_ms: 1 }],
  [
    "another version of the protocol, without registration",
    { protocol_version: "5.4" },
  ],
  [
    "the name of the document",
    { env: [replace("JPY_SESSION_NAME", "a.ipynb")] },
  ],
  [
    "what a gateway's client says of itself",
    {
      env: [
        replace("KERNEL_USERNAME", "ann"),
        replace("KERNEL_LAUNCH_TIMEOUT", "40"),
        replace("KERNEL_WORKING_DIR", "/"),
      ],
    },
  ],
])("a start with %s takes the warm kernel", async (_, recipe) => {
  const { provisioner, take } = await setting();
  expect(await take(recipe)).toBe(provisioner.kernels[0]);
});

test("the session receives what happened before, then what happens, and nothing twice", async () => {
  const { provisioner, warm } = await setting();
  const [kernel] = provisioner.kernels;
  kernel?.emit("status", { execution_state: "starting" });
  const { hooks, calls } = recorded();
  await warm.launch(RECIPE, hooks, new AbortController().signal);
  expect(calls).toEqual(["launched", "state idle", "message"]);
  kernel?.emit("stream", { name: "stdout", text: "" });
  kernel?.die(3);
  expect(calls.slice(3)).toEqual(["message", "exited"]);
});

test("failures of a kernel that was taken name its session", async () => {
  const { provisioner, warm } = await setting();
  const [recipe] = provisioner.recipes;
  expect(recipe?.session_id).toMatch(/^warm-fake-/);
  const { hooks } = recorded();
  const theirs = { ...RECIPE, session_id: "theirs", username: "ann" };
  await warm.launch(theirs, hooks, new AbortController().signal);
  expect(recipe).toMatchObject({ session_id: "theirs", username: "ann" });
});

test("no warm kernel is started while a session starts a kernel", async () => {
  const { provisioner, take, warm } = await setting({ begin: false });
  provisioner.isSlow = true;
  const started = take({ argv: ["other"] });
  warm.begin();
  await pass(10_000);
  expect(provisioner.kernels).toHaveLength(1);
  provisioner.isSlow = false;
  provisioner.kernel.answer();
  await started;
  await pass(0);
  expect(provisioner.kernels).toHaveLength(2);
});

test("when the kernelspec changes or is gone, its kernels end, and the new one's are started", async () => {
  const made = await setting();
  const { provisioner, warm, lines } = made;
  const [old] = provisioner.kernels;
  made.spec = { argv: ["new"] };
  await pass(5_000);
  await old?.exited;
  expect(provisioner.recipes.at(-1)?.argv).toEqual(["new"]);
  expect(warm.state[0]?.pids).toHaveLength(1);

  made.spec = new Error("There is no kernelspec fake");
  await pass(20_000);
  expect(warm.state[0]).toMatchObject({
    pids: [],
    problem: "There is no kernelspec fake",
  });
  expect(
    lines.filter(({ msg }) => msg.includes("There is no kernelspec")),
  ).toHaveLength(1);
  made.spec = { argv: ["new"] };
  await pass(5_000);
  expect(warm.state[0]).toMatchObject({ problem: undefined });
  expect(warm.state[0]?.pids).toHaveLength(1);
});

test("a kernel that dies is replaced at growing intervals, and given up at last, with two lines in the log", async () => {
  const { provisioner, warm, lines, take } = await setting();
  const counts = [provisioner.kernels.length];
  for (const seconds of [1, 2, 4, 8, 16, 32, 60, 600]) {
    provisioner.kernel.die(1);
    await pass(seconds * 1000 - 1);
    counts.push(provisioner.kernels.length);
    await pass(1);
  }
  expect(counts).toEqual([1, 1, 2, 3, 4, 5, 6, 7, 8]);
  expect(warm.state[0]).toMatchObject({
    pids: [],
    problem: "a warm kernel has ended (exit code 1)",
  });
  expect(lines.filter(({ level }) => level >= 40)).toHaveLength(2);

  await take(); // a session shows that the kernel can be started
  await pass(0);
  expect(warm.state[0]?.pids).toHaveLength(1);
});

test("a kernel that prints without end, falls silent or floods is not handed out", async () => {
  const { provisioner, take } = await setting();
  const [silent] = provisioner.kernels;
  silent?.beat(false);
  await silent?.exited;
  await pass(1_000);
  const [, loud] = provisioner.kernels;
  for (let n = 0; n < 20; n += 1) {
    loud?.emit("stream", { name: "stdout", text: "x".repeat(100_000) });
  }
  await loud?.exited;
  await pass(2_000);
  expect(await take()).toBe(provisioner.kernels[2]);
});

test("a kernel that does not end when asked is killed, and all end with the server", async () => {
  const { provisioner, warm } = await setting({ count: 2 });
  const [one, two] = provisioner.kernels as [FakeKernel, FakeKernel];
  one.ignoresShutdown = true;
  const ended = warm[Symbol.asyncDispose]();
  await pass(1_000);
  await ended;
  expect((await one.exited).signal).toBe("SIGKILL");
  expect((await two.exited).signal).toBe(null);
  await pass(60_000);
  expect(provisioner.kernels).toHaveLength(2);
});
