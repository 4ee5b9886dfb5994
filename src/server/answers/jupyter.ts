/**
 * The operations of Jupyter Server's REST API, answered: a kernel is a session,
 * and a session is a document that has a kernel.
 */
import {
  type contract,
  failure,
  type JupyterKernel,
  type JupyterSession,
  type Kernelspec,
  type Scope,
} from "../../../contract/index.ts";
import type { Execution } from "../../session/executions/execution.ts";
import type { Session } from "../../session/session.ts";
import type { Document } from "../../supervisor/documents.ts";
import { within } from "../../time/within.ts";
import {
  type KernelAction,
  OWN_SCHEMAS,
  type ServerEvents,
} from "../events.ts";
import type { AnswersTo } from "./implement.ts";
import type { Service } from "./service.ts";
import { resolveSpec } from "./session-spec.ts";

/** The version that clients see: the oldest Jupyter Server that has all operations below. */
const JUPYTER_SERVER_VERSION = "2.14.0";
/** How long an answer waits for a kernel that starts. Most kernels that cannot start have failed by then. */
const START_MS = 2_000;
/** For kernels that Jupyter's clients start, if the server's policy sets no limit. The same as Jupyter Server's default. */
const AUTORESTART = { limit: 5, window_s: 60 };

export const jupyter: Omit<
  AnswersTo<typeof contract.jupyter>,
  "execute" | "request" | "cancel_request" | "answer_input"
> = {
  version: () => ({ version: JUPYTER_SERVER_VERSION }),

  status({ service: { supervisor } }) {
    const sessions = kernelsOf(supervisor);
    const used = sessions.map(({ usedAt }) => usedAt);
    const began = performance.now() - supervisor.uptime_ms;
    return {
      started: dateOf(began),
      last_activity: dateOf(Math.max(began, ...used)),
      kernels: sessions.length,
      connections: sessions.reduce((sum, each) => sum + connectionsTo(each), 0),
    };
  },

  identity({ input, by, service: { host } }) {
    const username = host.userName();
    return {
      identity: {
        username,
        name: username,
        display_name: username,
        initials: username.slice(0, 1).toUpperCase(),
        avatar_url: null,
        color: null,
      },
      permissions: permittedOf(input.permissions, by.scopes),
    };
  },

  async kernelspecs({ service }) {
    const { default: preferred, kernelspecs } =
      await service.kernelspecs.list();
    return {
      default: preferred ?? "",
      kernelspecs: Object.fromEntries(
        kernelspecs.map((spec) => [
          spec.name,
          describeKernelspec(spec, service),
        ]),
      ),
    };
  },

  kernelspec: async ({ input, service }) =>
    describeKernelspec(await service.kernelspecs.find(input.name), service),

  kernels: ({ service: { supervisor } }) =>
    kernelsOf(supervisor).map(describeKernel),

  async start_kernel({ input, service }) {
    const { kernel_id, name, path, env } = input;
    return describeKernel(
      await startKernel({ kernel_id, name, path, env }, service),
    );
  },

  kernel: ({ input, service: { supervisor } }) =>
    describeKernel(kernelOf(input.kernel_id, supervisor)),

  async delete_kernel({ input, service: { supervisor, events } }) {
    const session = kernelOf(input.kernel_id, supervisor);
    await acting("shutdown", session, events, endKernel(session, supervisor));
    return null;
  },

  async interrupt_kernel({ input, service: { supervisor, events } }) {
    const session = kernelOf(input.kernel_id, supervisor);
    await acting("interrupt", session, events, interrupt(session));
    return null;
  },

  async restart_kernel({ input, service: { supervisor, events } }) {
    const session = kernelOf(input.kernel_id, supervisor);
    supervisor.assertMayStart(session);
    await acting("restart", session, events, restartOnce(session));
    return describeKernel(session);
  },

  emit_event({ input, service: { events } }) {
    const { schema_id, data } = input;
    if (OWN_SCHEMAS.includes(schema_id)) {
      const why = `Only the server emits events of ${schema_id}`;
      throw failure("bad_request", { why });
    }
    events.emit({ ...data, schema_id });
    return null;
  },

  sessions: ({ service: { supervisor } }) =>
    supervisor.documents.all.map(describeDocument),

  async start_session({ input, service }) {
    const { documents } = service.supervisor;
    const { path, name, type } = namesIn(input);
    const existing = documents.all.find((each) => each.path === path);
    if (existing !== undefined) return describeDocument(existing);
    const session = await kernelFor(input.kernel ?? {}, path, service);
    // Another request may have added the same document meanwhile.
    const other = documents.all.find((each) => each.path === path);
    if (other === undefined) {
      return describeDocument(documents.add({ path, name, type, session }));
    }
    if (!documents.hasOf(session)) await endKernel(session, service.supervisor);
    return describeDocument(other);
  },

  session: ({ input, service: { supervisor } }) =>
    describeDocument(documentOf(input.jupyter_session_id, supervisor)),

  async change_session({ input, service }) {
    const { supervisor } = service;
    const { documents } = supervisor;
    const document = documentOf(input.jupyter_session_id, supervisor);
    const { type, kernel, notebook } = input;
    const path = input.path ?? notebook?.path;
    const name = input.name ?? notebook?.name;
    const isEmpty = [path, name, type, kernel].every((value) => value == null);
    if (isEmpty) throw failure("bad_request", { why: "No JSON data provided" });
    const before = document.session;
    const session =
      kernel?.id != null || kernel?.name != null
        ? await kernelFor(kernel, path ?? document.path, service)
        : before;
    // Another request may have changed it meanwhile.
    const latest = documents.get(document.id) ?? document;
    const changed = documents.change(latest, {
      path: path ?? latest.path,
      name: name ?? latest.name,
      type: type ?? latest.type,
      session,
    });
    if (before !== session && !documents.hasOf(before)) {
      await endKernel(before, supervisor);
    }
    return describeDocument(changed);
  },

  async delete_session({ input, service: { supervisor } }) {
    const { id, session } = documentOf(input.jupyter_session_id, supervisor);
    supervisor.documents.remove(id);
    if (!supervisor.documents.hasOf(session)) {
      await endKernel(session, supervisor);
    }
    return null;
  },
};

type Supervisor = Service["supervisor"];

/** Reports an action, whether it succeeds or fails. */
async function acting<T>(
  action: KernelAction,
  session: Session,
  events: ServerEvents,
  done: Promise<T>,
): Promise<T> {
  try {
    const result = await done;
    events.acted(action, session);
    return result;
  } catch (error) {
    events.failed(action, session, error);
    throw error;
  }
}

interface RequestedKernel {
  readonly kernel_id?: string | null | undefined;
  /** The name of a kernelspec. */
  readonly name?: string | null | undefined;
  /** A directory, or a file in it. */
  readonly path?: string | null | undefined;
  readonly env?: Readonly<Record<string, string>> | null | undefined;
}

/** The sessions that Jupyter's clients see: for them, a kernel that was shut down is gone. */
function kernelsOf({ sessions }: Supervisor): readonly Session[] {
  return sessions.filter((session) => !session.isStopped);
}

/** Throws `kernel_not_found`. */
export function kernelOf(kernel_id: string, supervisor: Supervisor): Session {
  const session = supervisor.findKernel(kernel_id);
  if (session === undefined || session.isStopped) {
    throw failure("kernel_not_found", { kernel_id });
  }
  return session;
}

function documentOf(session_id: string, { documents }: Supervisor): Document {
  const document = documents.get(session_id);
  if (document === undefined) {
    throw failure("jupyter_session_not_found", { session_id });
  }
  return document;
}

/** A kernel that starts runs no code yet: there is nothing to interrupt, and no failure. */
async function interrupt(session: Session): Promise<void> {
  const isStarting = session.status === "starting" && !session.isRestarting;
  if (!isStarting) await session.interrupt();
}

/** The running kernel with this id, or a new kernel from a kernelspec. Throws `kernel_not_found`. */
async function kernelFor(
  {
    id,
    name,
  }: {
    readonly id?: string | null | undefined;
    readonly name?: string | null | undefined;
  },
  path: string,
  service: Service,
): Promise<Session> {
  if (id != null && id !== "") {
    const running = service.supervisor.findKernel(id);
    if (running?.isStopped === false) return running;
    if (name == null) throw failure("kernel_not_found", { kernel_id: id });
  }
  const env = { JPY_SESSION_NAME: path };
  return startKernel({ kernel_id: id, name, path, env }, service);
}

/** Resolves when the kernel is ready, or after two seconds if it is still starting. A kernel that does not start leaves no session behind. */
async function startKernel(
  { kernel_id, name, path, env }: RequestedKernel,
  service: Service,
): Promise<Session> {
  const { supervisor } = service;
  const known =
    kernel_id == null ? undefined : supervisor.findKernel(kernel_id);
  if (known !== undefined && !known.isStopped) return known;
  const session =
    known ??
    supervisor.create(
      await resolveSpec(
        {
          session_id: kernel_id ?? crypto.randomUUID(),
          kernel_name: await kernelspecFor(name, service),
          session_mode: "notebook",
          ...(service.policy.autorestart === null && {
            policy: { autorestart: AUTORESTART },
          }),
          working_directory: await nearestDirectory(
            path ?? env?.["KERNEL_WORKING_DIR"] ?? "", // a Jupyter Server in front sends the notebook's directory so
            service,
          ),
          env: Object.entries(env ?? {}).map(([name, value]) => ({
            action: "replace",
            name,
            value,
          })),
        },
        service,
      ),
    );
  const start = startOf(session, supervisor);
  start.catch(() => {}); // the kernel's state reports a start that fails later
  try {
    await acting("start", session, service.events, within(start, START_MS));
  } catch (error) {
    if (known === undefined) await supervisor.delete(session.id);
    throw error;
  }
  return session;
}

/** Rejects with `resource_limit` if it would be one too many. */
async function startOf(
  session: Session,
  supervisor: Supervisor,
): Promise<unknown> {
  supervisor.assertMayStart(session);
  return session.start();
}

/** Throws `kernelspec_not_found`. */
async function kernelspecFor(
  name: string | null | undefined,
  { kernelspecs }: Service,
): Promise<string> {
  if (name != null && name !== "") return name;
  const { default: preferred } = await kernelspecs.list();
  return preferred ?? "";
}

/** The nearest existing directory of `path`. Empty: the server's own directory. */
async function nearestDirectory(
  path: string,
  { host }: Service,
): Promise<string> {
  for (let left = path; left !== "";) {
    const { fault } = await host.workingDirectory(left);
    if (fault === undefined) return left;
    left = left.slice(0, Math.max(left.lastIndexOf("/"), 0));
  }
  return "";
}

/** Shuts the kernel down and deletes its session. Clients see the kernel's end first. */
async function endKernel(
  session: Session,
  supervisor: Supervisor,
): Promise<void> {
  if (session.isRunning || session.isRestarting) await session.shutDown();
  await supervisor.delete(session.id);
}

const restarts = new WeakMap<Session, Promise<void>>();

/** If a restart is already under way, this waits for that one. */
async function restartOnce(session: Session): Promise<void> {
  let restart = restarts.get(session);
  if (restart === undefined) {
    restart = session.restart({}).finally(() => restarts.delete(session));
    restarts.set(session, restart);
  }
  await restart;
}

function namesIn(input: {
  readonly path?: string | null | undefined;
  readonly name?: string | null | undefined;
  readonly type?: string | null | undefined;
  readonly notebook?:
    | {
        readonly path?: string | null | undefined;
        readonly name?: string | null | undefined;
      }
    | null
    | undefined;
}): Pick<Document, "path" | "name" | "type"> {
  const { notebook, name } = input;
  const folder = input.path ?? "";
  const path =
    notebook?.path ??
    (notebook?.name != null && folder !== ""
      ? `${folder}/${notebook.name}`
      : (notebook?.name ?? input.path));
  const type = input.type ?? (notebook == null ? undefined : "notebook");
  const missing = path == null ? "path" : type === undefined ? "type" : "";
  if (path == null || type === undefined) {
    const why = `Missing field in JSON data: ${missing}`;
    throw failure("bad_request", { why });
  }
  return { path, type, name: name ?? notebook?.name ?? "" };
}

function describeKernel(session: Session): JupyterKernel {
  const { spec, status, pid, statusReason, lastExit } = session;
  const { isRunning, resource_usage: usage } = session;
  const asking = session.executions.running.find(({ input }) => input);
  return {
    id: spec.kernel_id,
    name: spec.kernel_name ?? "",
    last_activity: dateOf(session.usedAt),
    execution_state: stateOf(session),
    connections: connectionsTo(session),
    ...(status === "exited" &&
      statusReason !== null && { reason: statusReason }),
    session_id: session.id,
    started_at: session.startedAt.toISOString(),
    ...(pid !== undefined && isRunning && { pid }),
    ...(status === "exited" &&
      lastExit !== undefined && {
        exit: {
          code: lastExit.exit_code,
          signal: lastExit.signal,
          ...(lastExit.oom !== undefined && { oom: lastExit.oom }),
          ...(lastExit.limit !== undefined && { limit: lastExit.limit }),
        },
      }),
    ...(usage !== undefined &&
      isRunning && {
        usage: { cpu: usage.cpu_percent, rss: usage.memory_bytes },
      }),
    queue: session.queue.pending.length,
    ...(asking !== undefined && {
      pending_input: { request_id: asking.id, ...describeInput(asking) },
    }),
  };
}

/** What the code asks the user. */
export function describeInput({ input }: Execution) {
  const { prompt, password } = input?.content ?? {};
  return {
    prompt: typeof prompt === "string" ? prompt : "",
    password: password === true,
  };
}

function describeDocument(document: Document): JupyterSession {
  const { id, path, name, type, session } = document;
  return {
    id,
    path,
    name,
    type,
    kernel: describeKernel(session),
    ...(type === "notebook" && { notebook: { path, name } }),
  };
}

function stateOf(session: Session): JupyterKernel["execution_state"] {
  if (session.isRestarting) return "restarting";
  switch (session.status) {
    case "starting":
      return session.isAutorestarted ? "autorestarting" : "starting";
    case "ready":
      return "idle";
    case "offline":
      return "unknown";
    case "uninitialized":
    case "exited":
      return "dead";
    default:
      return session.status;
  }
}

function connectionsTo({ jupyterClients, ownership }: Session): number {
  return jupyterClients.connected + (ownership.isTaken ? 1 : 0);
}

function describeKernelspec(spec: Kernelspec, { basePath }: Service) {
  const { name, argv, env, display_name, language } = spec;
  const { interrupt_mode, metadata, kernel_protocol_version } = spec;
  return {
    name,
    spec: {
      argv: [...argv],
      env: { ...env },
      display_name,
      language,
      interrupt_mode,
      metadata: { ...metadata },
      ...(kernel_protocol_version !== undefined && { kernel_protocol_version }),
    },
    resources: Object.fromEntries(
      Object.entries(spec.resources).map(([key, file]) => [
        key,
        `${basePath}/kernelspecs/${encodeURIComponent(name)}/${encodeURIComponent(file)}`,
      ]),
    ),
  };
}

/** The scope that allows each of Jupyter's actions. */
const scopes: Readonly<Record<string, Scope>> = {
  read: "observe",
  execute: "execute",
  write: "control",
};
const RESOURCES = ["kernels", "sessions", "kernelspecs", "status"];

/** Those of the requested permissions that the client has. Throws `bad_request`. */
function permittedOf(
  requested: string | undefined,
  held: ReadonlySet<Scope>,
): Record<string, string[]> {
  if (requested === undefined) return {};
  let permissions: unknown;
  try {
    permissions = JSON.parse(requested);
  } catch (cause) {
    const why = "`permissions` is not JSON";
    throw failure("bad_request", { why }, { cause });
  }
  return Object.fromEntries(
    Object.entries(permissions ?? {}).map(([resource, actions]) => [
      resource,
      (Array.isArray(actions) ? (actions as unknown[]) : []).filter(
        (action): action is string => {
          const scope = scopes[String(action)];
          return (
            RESOURCES.includes(resource) &&
            scope !== undefined &&
            held.has(scope)
          );
        },
      ),
    ]),
  );
}

/** `at`: milliseconds of the monotonic clock. The same time is the same date, whenever it is asked for: clients compare models. */
function dateOf(at: number): string {
  const offset = Date.now() - performance.now();
  const isKnown = Math.abs(offset - clockOffset) <= CLOCK_CHANGE_MS;
  if (!isKnown) clockOffset = offset;
  return new Date(clockOffset + at).toISOString();
}

/** From the monotonic clock to the system's, as last measured. */
let clockOffset = NaN;
/** A greater difference is a change of the system's clock. */
const CLOCK_CHANGE_MS = 100;
