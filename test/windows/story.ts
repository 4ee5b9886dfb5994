/**
 * The behaviour of kcserver.exe on Windows, observed by a program on the same
 * Windows: each scene has a name and a result. Arguments: the server, the
 * bundled kernel, the path of the report.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import {
  type Client,
  connect,
  type Session,
  type SupervisorError,
} from "../../client/index.ts";

const [, , kcserver = "", kernel = "", report = ""] = process.argv;
const TIMEOUT_MS = 10_000;
const SCENE_MS = 20_000;
const home = mkdtempSync(join(tmpdir(), "kc story é "));

const scripts = mkdtempSync(join(tmpdir(), "kc-é-"));

interface Server {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  readonly output: () => string;
  readonly facts: {
    readonly named_pipe?: string;
    readonly base_path?: string;
    readonly bearer_token: string;
    readonly server_path: string;
  };
  readonly client: Client;
}

async function serve(name: string): Promise<Server> {
  const file = join(home, `${name}.json`);
  const child = spawn(kcserver, ["--connection-file", file, "-l", "debug"], {
    stdio: ["ignore", "pipe", "pipe"],
    windowsHide: true,
  });
  let output = "";
  child.stdout.on("data", (text: Buffer) => (output += text.toString()));
  child.stderr.on("data", (text: Buffer) => (output += text.toString()));
  const exited = once(child, "exit").then(([code]) => code as number | null);
  await until(() => existsSync(file), "no connection file");
  const facts = JSON.parse(readFileSync(file, "utf8")) as Server["facts"];
  const client = await connect({ connectionFile: file });
  return { child, exited, output: () => output, facts, client };
}

let started = 0;
function start(
  { client }: Server,
  env: Readonly<Record<string, string>> = {},
  more: { argv?: string[]; working_directory?: string } = {},
): Promise<Session> {
  return client.start(undefined, {
    session_id: `story-${++started}`,
    display_name: "Echo",
    language: "echo",
    username: "ann",
    input_prompt: "",
    continuation_prompt: "",
    session_mode: "console",
    working_directory: "",
    startup_environment: "none",
    argv: [process.execPath, kernel, "{connection_file}"],
    interrupt_mode: "signal",
    env: Object.entries(env).map(([name, value]) => ({
      action: "replace" as const,
      name,
      value,
    })),
    ...more,
  });
}

async function reported(session: Session, code: string): Promise<string> {
  const { result } = await session.execute(code);
  return String(result?.["text/plain"]);
}

/** The time from the interrupt until the code has ended, and its result. */
async function interrupted(session: Session): Promise<string> {
  const execution = session.execute("sleep 60000");
  for await (const event of execution) {
    if (event.type === "execute_input") await session.interrupt();
  }
  return execution.then(
    ({ status }): string => status,
    (error: unknown) => (error as Error).name,
  );
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function until(holds: () => boolean, otherwise: string): Promise<void> {
  const latest = performance.now() + TIMEOUT_MS;
  while (!holds()) {
    if (performance.now() > latest) throw new Error(otherwise);
    await sleep(50);
  }
}

async function exitOf(session: Session): Promise<unknown> {
  for await (const event of session.events()) {
    if (event.kind === "exited") return event.exit_code;
  }
  return "never";
}

/** A GET over the server's pipe, as Positron requests the path of a session's channels. */
function ask({ facts }: Server, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const requested = request(
      {
        socketPath: facts.named_pipe,
        path,
        headers: { authorization: `Bearer ${facts.bearer_token}` },
      },
      (answer) => {
        let text = "";
        answer.on("data", (chunk: Buffer) => (text += chunk.toString()));
        answer.on("end", () => resolve(text));
      },
    );
    requested.on("error", reject);
    requested.end();
  });
}

/** The first frame on a session's own pipe. */
async function firstFrame(pipe: string, session_id: string): Promise<string> {
  const socket = new WebSocket(`ws://localhost/api/channels/${session_id}`, {
    createConnection: () => dial(pipe),
  });
  try {
    const [frame] = (await once(socket, "message", {
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })) as [Buffer];
    return (JSON.parse(frame.toString()) as { kind: string }).kind;
  } finally {
    socket.terminate();
  }
}

const scenes: Record<string, () => Promise<unknown>> = {
  async "a kernel has its handles"() {
    const session = await start(piped());
    const names = [
      "JPY_INTERRUPT_EVENT",
      "IPY_INTERRUPT_EVENT",
      "JPY_PARENT_PID",
    ];
    const values: string[] = [];
    for (const name of names)
      values.push(await reported(session, `env ${name}`));
    await session.shutdown();
    return values.map((value) => /^\d+$/.test(value));
  },
  async "it is interrupted by the event, twice"() {
    const session = await start(piped());
    const ended = [await interrupted(session), await interrupted(session)];
    const events = await reported(session, "env EVENTS");
    await session.shutdown();
    return { ended, events };
  },
  async "one that does not wait for the event is interrupted by message"() {
    const session = await start(piped(), { DEAF: "1" });
    const ended = await interrupted(session);
    const events = await reported(session, "env EVENTS");
    await session.shutdown();
    return { ended, events };
  },
  async "its tree is measured, and killed"() {
    const session = await start(piped(), { GRANDCHILD: "1" });
    const pid = Number(await reported(session, "env GRANDCHILD"));
    const before = isAlive(pid);
    let threads = 0;
    let bytes = 0;
    for await (const event of session.events()) {
      if (event.kind !== "resource_usage") continue;
      threads = event.usage.thread_count;
      bytes = event.usage.memory_bytes;
      break;
    }
    const exit = exitOf(session);
    await session.kill();
    await until(() => !isAlive(pid), "the grandchild lives on");
    return {
      before,
      exit: await exit,
      threads: threads > 10, // a Node has about a dozen: these are two
      bytes: bytes > 20e6,
    };
  },
  async "what it leaves behind ends with it"() {
    const session = await start(piped(), { GRANDCHILD: "1" });
    const pid = Number(await reported(session, "env GRANDCHILD"));
    const exit = exitOf(session);
    session.execute("exit 3").catch(() => {}); // it does not answer, because it exits
    const code = await exit;
    await until(() => !isAlive(pid), "the grandchild lives on");
    return code;
  },
  async "it may be a script, and work in a folder with blanks and accents"() {
    const folder = join(home, "a folder é");
    mkdirSync(folder, { recursive: true });
    const script = join(scripts, "kernel.cmd"); // Wine's cmd cannot read blanks in its path
    writeFileSync(script, `@"${process.execPath}" "${kernel}" %*\r\n`);
    const session = await start(
      piped(),
      {},
      { argv: [script, "{connection_file}"], working_directory: folder },
    );
    const cwd = await reported(session, "cwd");
    const ended = await interrupted(session);
    await session.shutdown();
    return { isThere: cwd.toLowerCase() === folder.toLowerCase(), ended };
  },
  async "its channels are on a pipe of its own"() {
    const session = await start(piped());
    const path = `/sessions/${session.session_id}/channels`;
    const pipe = JSON.parse(await ask(piped(), path)) as string;
    const frames = [
      await firstFrame(pipe, session.session_id),
      await firstFrame(pipe, session.session_id),
    ];
    await session.shutdown();
    return { pipe: pipe.replace(/[0-9a-f]{16,}$/, "*"), frames };
  },
  async "its end leaves nothing"() {
    const server = piped();
    const session = await start(server);
    const pid = Number(await reported(session, "pid"));
    const pipe = JSON.parse(
      await ask(server, `/sessions/${session.session_id}/channels`),
    ) as string;
    await server.client.trpc.server.shutdown.mutate();
    const code = await server.exited;
    return {
      code,
      kernel: isAlive(pid),
      file: existsSync(join(home, "first.json")),
      pipe: existsSync(pipe),
      complaints: server.output().match(/.*(WARN|ERROR).*/g) ?? [],
    };
  },
  async "when the server is killed, so are kernels and what came of them"() {
    const server = await serve("second");
    const session = await start(server, { GRANDCHILD: "1" });
    const kernelPid = Number(await reported(session, "pid"));
    const pid = Number(await reported(session, "env GRANDCHILD"));
    server.child.kill(); // on Windows this kills at once
    await until(() => !isAlive(kernelPid) && !isAlive(pid), "orphans");
    return "none is left";
  },
};

let shared: Server | undefined;
function piped(): Server {
  if (shared === undefined) throw new Error("no server");
  return shared;
}

const seen: Record<string, unknown> = {};
try {
  shared = await serve("first");
  seen["where"] = {
    pipe: shared.facts.named_pipe?.replace(/\d+-[0-9a-f]{16,}$/, "*"),
    isExecutable: shared.facts.server_path.toLowerCase().endsWith(".exe"),
  };
  for (const [name, scene] of Object.entries(scenes)) {
    console.log(name);
    const tooLong = sleep(SCENE_MS).then(() => {
      throw new Error(`not over after ${SCENE_MS / 1000} s`);
    });
    tooLong.catch(() => {}); // it may reject after the race below
    seen[name] = await Promise.race([scene(), tooLong]).catch(
      (error: unknown) => ({
        failed: String(error),
        output: (error as Partial<SupervisorError>).startup?.output,
      }),
    );
  }
} catch (error) {
  seen["where"] = { failed: String(error) };
} finally {
  shared?.child.kill();
  for (const folder of [home, scripts]) {
    rmSync(folder, { recursive: true, force: true });
  }
}
writeFileSync(report, JSON.stringify(seen, null, 2));
process.exit(0);
