/** Finds what servers and keepers have left: only reads, and removes nothing. */
import { readdirSync, readlinkSync, existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  findRuntimePaths,
  type RunningKernel,
  type RuntimePath,
} from "../../host/dead-servers.ts";
import { currentOwner, type Owner } from "../../host/owner.ts";
import { RuntimeFiles } from "../../host/runtime-files.ts";
import {
  type KeeperFile,
  keeperFileIn,
  mayRun,
  readKeeperFile,
} from "../../keeper/keeper-file.ts";
import {
  type SurveyedSession,
  type SurveyedState,
  surveyStates,
} from "../../state/survey.ts";
import { deadRecords } from "../record.ts";
import { size, span } from "../table.ts";
import {
  end,
  type Mend,
  move,
  quoted,
  removeFile,
  removeFolder,
  serve,
} from "./mend.ts";

export interface Finding {
  readonly kind: Kind;
  /** A sentence. */
  readonly message: string;
  /** The command lines that mend it, and what each of them does. */
  readonly mends: readonly Mend[];
}

type Kind =
  /** Kernels run in a keeper, and no server is attached. */
  | "no_server"
  /** A state without a server and without a keeper. */
  | "unused_state"
  /** Its server has been killed. */
  | "dead_lock"
  /** It names a process on another machine. */
  | "foreign_lock"
  | "unreadable_state"
  | "unreadable_session"
  /** Of no state that was looked at. */
  | "unknown_keeper"
  /** Its server, or its keeper, has been killed. */
  | "orphan_kernel"
  /** Files of a process that has ended. */
  | "dead_files"
  | "dead_record";

/** A state, and who uses it. */
export interface ExaminedState {
  readonly name: string;
  readonly directory: string;
  readonly server_pid: number | null;
  readonly keeper_pid: number | null;
  /** How many kernels its keeper has, as far as this can be seen. */
  readonly kernels: number;
  readonly sessions: number;
  readonly bytes: number;
  /** ISO 8601. */
  readonly written: string;
}

export interface Examined {
  readonly states: readonly ExaminedState[];
  readonly findings: readonly Finding[];
}

export async function examine(root: string): Promise<Examined> {
  const found = surveyStates(root).map((survey) => ({
    survey,
    file: readKeeperFile(keeperFileIn(survey.directory)),
  }));
  const paths = await findRuntimePaths([
    ...new RuntimeFiles().parents,
    // The server may have been told another directory.
    ...found.flatMap(({ file }) =>
      file === undefined || file.socket === ""
        ? []
        : [dirname(dirname(file.socket))],
    ),
  ]);
  const states = found.map(({ survey, file }) => {
    const keeper = file !== undefined && mayRun(file) ? file : undefined;
    return { survey, keeper, kernels: keptBy(keeper, paths) };
  });
  const known = new Set(states.map(({ keeper }) => keeper?.pid));
  return {
    states: states.map(described),
    findings: [
      ...states.flatMap((state) => findingsOf(root, state)),
      ...paths.flatMap((path) => [
        ...unknownKeeper(path, known),
        ...leftBehind(path),
      ]),
      ...deadRecords().map(deadRecord),
    ],
  };
}

interface State {
  readonly survey: SurveyedState;
  /** One that may run. */
  readonly keeper: KeeperFile | undefined;
  readonly kernels: readonly RunningKernel[];
}

function keptBy(
  keeper: KeeperFile | undefined,
  paths: readonly RuntimePath[],
): RunningKernel[] {
  return paths
    .filter(
      ({ owner, isDead }) =>
        !isDead && owner !== undefined && owner.pid === keeper?.pid,
    )
    .flatMap(({ kernels }) => kernels);
}

function described({ survey, keeper, kernels }: State): ExaminedState {
  const { name, directory, lock, sessions, bytes, writtenAt } = survey;
  return {
    name,
    directory,
    server_pid: lock?.isHeld === true ? (lock.owner?.pid ?? null) : null,
    keeper_pid: keeper?.pid ?? null,
    kernels: kernels.length,
    sessions: sessions.length,
    bytes,
    written: new Date(writtenAt).toISOString(),
  };
}

function findingsOf(root: string, state: State): Finding[] {
  const { survey } = state;
  return [
    ...withoutServer(root, state),
    ...lockFindings(survey),
    ...unreadableState(survey),
    ...survey.sessions.flatMap((session) => unreadable(session, survey)),
  ];
}

function withoutServer(
  root: string,
  { survey, keeper, kernels }: State,
): Finding[] {
  const { name, directory, lock, sessions, bytes, writtenAt } = survey;
  if (lock?.isHeld === true) return [];
  const keeperFile = keeperFileIn(directory);
  if (readKeeperFile(keeperFile) === undefined && existsSync(keeperFile)) {
    const message = `The keeper of the state ${name} is not known, because ${keeperFile} cannot be read. It may run`;
    return [{ kind: "unreadable_state", message, mends: [] }];
  }
  const goOn = serve(root, name);
  if (keeper !== undefined && !isHere(keeper)) {
    const { pid, host } = keeper;
    const message = `The state ${name} has a keeper (process ${pid} on ${host}), which cannot be seen from here, and no server`;
    return [{ kind: "no_server", message, mends: [] }];
  }
  if (keeper !== undefined) {
    const count = numberOf(kernels.length, "kernel");
    const message = `The state ${name} has a keeper (process ${keeper.pid}) with ${count}, and no server`;
    const mends = [
      { purpose: "go on with its kernels", command: goOn },
      {
        purpose: "end its kernels; what they have not saved is lost",
        command: end(keeper.pid),
      },
    ];
    return kernels.length === 0
      ? [endingKeeper(name, keeper.pid, goOn)]
      : [{ kind: "no_server", message, mends }];
  }
  const count = numberOf(sessions.length, "session");
  const age = span(Date.now() - writtenAt);
  const message = `No server and no keeper uses the state ${name}: ${count}, ${size(bytes)}, last written ${age} ago`;
  const mends = [
    { purpose: "go on with its sessions", command: goOn },
    {
      purpose: "delete it with all its histories",
      command: removeFolder(directory),
    },
  ];
  return [{ kind: "unused_state", message, mends }];
}

/** A keeper without kernels ends by itself, unless it has what they said last. */
function endingKeeper(name: string, pid: number, goOn: string): Finding {
  const message = `The state ${name} has a keeper (process ${pid}) without kernels, and no server. If it does not end within 10 s, it has output for the next server`;
  const mends = [{ purpose: "take it", command: goOn }];
  return { kind: "no_server", message, mends };
}

/** Whether the process ids of the owner mean the same here. */
function isHere({ host, boot_id, pid_namespace }: Owner): boolean {
  const here = currentOwner();
  return (
    host === here.host &&
    boot_id === here.boot_id &&
    pid_namespace === here.pid_namespace
  );
}

function lockFindings({ name, lock }: SurveyedState): Finding[] {
  if (lock === undefined) return [];
  const { owner, path, isHeld } = lock;
  const mends = [{ purpose: "remove it", command: removeFile(path) }];
  if (!isHeld) {
    const whose = owner === undefined ? "" : `, process ${owner.pid},`;
    const message = `The server of the state ${name}${whose} has been killed and has left its lock; the next server with this state removes it`;
    return [{ kind: "dead_lock", message, mends }];
  }
  if (owner === undefined || isHere(owner)) return [];
  const message = `The state ${name} is locked by process ${owner.pid} on ${owner.host}, which cannot be seen from here. If that process has ended, the lock is left over`;
  return [{ kind: "foreign_lock", message, mends }];
}

function unreadableState({
  name,
  directory,
  problem,
}: SurveyedState): Finding[] {
  if (problem === undefined) return [];
  const path = join(directory, "server.json");
  return [
    {
      kind: "unreadable_state",
      message: `No server can use the state ${name}: ${path}: ${problem}`,
      mends: [
        {
          purpose: "put it aside",
          command: move(directory, `${directory}.unreadable`),
        },
      ],
    },
  ];
}

function unreadable(
  { directory, problem, bytes }: SurveyedSession,
  { name, directory: state }: SurveyedState,
): Finding[] {
  if (problem === undefined) return [];
  const aside = join(state, `unreadable-${basename(directory)}`);
  return [
    {
      kind: "unreadable_session",
      message: `A session of the state ${name} cannot be read (${size(bytes)}): ${join(directory, "session.json")}: ${problem}`,
      mends: [{ purpose: "put it aside", command: move(directory, aside) }],
    },
  ];
}

/** A keeper that runs, and of which no state knows. */
function unknownKeeper(
  { path, owner, isDead, kernels }: RuntimePath,
  known: ReadonlySet<number | undefined>,
): Finding[] {
  if (owner === undefined || isDead || known.has(owner.pid)) return [];
  if (!isHere(owner)) return [];
  if (!existsSync(join(path, "keeper.sock"))) return [];
  const { pid } = owner;
  const state = stateOf(pid);
  const count = numberOf(kernels.length, "kernel");
  const ending = {
    purpose: "end it and its kernels; what they have not saved is lost",
    command: end(pid),
  };
  if (state !== undefined) {
    const goOn = serve(dirname(state), basename(state));
    const message = `A keeper (process ${pid}) with ${count} belongs to another directory of states: ${state}`;
    const mends = [{ purpose: "go on with them", command: goOn }, ending];
    return [{ kind: "unknown_keeper", message, mends }];
  }
  return [
    {
      kind: "unknown_keeper",
      message: `A keeper (process ${pid}) runs with ${count}, and its state is not there. No server can attach to it`,
      mends: [...kernels.map(rescue), ending],
    },
  ];
}

/** The state of a keeper that runs: where its log is. Known on Linux only. */
function stateOf(pid: number): string | undefined {
  try {
    const folder = `/proc/${pid}/fd`;
    for (const name of readdirSync(folder)) {
      const path = readlinkSync(join(folder, name)); // of a deleted file it has another end
      const state = dirname(path);
      const isLog = basename(path) === "keeper.log";
      if (isLog && existsSync(join(state, "server.json"))) return state;
    }
  } catch {
    // It has ended, or this is another system.
  }
  return undefined;
}

/** What a server or a keeper has left that was killed. */
function leftBehind({ path, owner, isDead, kernels }: RuntimePath): Finding[] {
  if (!isDead) return [];
  if (kernels.length > 0) return kernels.map((kernel) => orphan(kernel, owner));
  const mend =
    owner === undefined
      ? { purpose: "remove it", command: removeFile(path) }
      : { purpose: "remove them", command: removeFolder(path) };
  const message =
    owner === undefined
      ? `The socket of a server that has ended: ${path}`
      : `Files of a server or keeper that has ended (process ${owner.pid}): ${path}; the next server removes them`;
  return [{ kind: "dead_files", message, mends: [mend] }];
}

function orphan(kernel: RunningKernel, owner: RuntimePath["owner"]): Finding {
  const { pid, session_id } = kernel;
  const whose = owner === undefined ? "" : ` (process ${owner.pid})`;
  return {
    kind: "orphan_kernel",
    message: `The kernel of session ${session_id} (process ${pid}) runs, and its server or keeper${whose} has been killed. The next server that starts here ends it`,
    mends: [
      rescue(kernel),
      {
        purpose: "end it; what it has not saved is lost",
        command: end(pid),
      },
    ],
  };
}

function rescue({ pid, connection_file }: RunningKernel): Mend {
  return {
    purpose: `save the work of the kernel with process id ${pid}`,
    command: `jupyter console --existing ${quoted(connection_file)}`,
  };
}

function deadRecord(path: string): Finding {
  return {
    kind: "dead_record",
    message: `The record of a server that has ended: ${path}`,
    mends: [{ purpose: "remove it", command: "kallichore servers" }],
  };
}

function numberOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
