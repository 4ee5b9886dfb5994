/**
 * The set of sessions: makes them, finds them, reports their changes, and ends
 * them all. It does not depend on any protocol or on processes.
 */
import { randomUUID } from "node:crypto";
import { failure } from "../../contract/index.ts";
import type { Provisioner } from "../kernel/kernel.ts";
import { cullIdle, type CullingListener } from "./culling.ts";
import type { Log } from "../log/log.ts";
import type { SessionNamed, Telemetry } from "../telemetry/telemetry.ts";
import type { Faults } from "../log/faults.ts";
import { Session, type SessionOptions } from "../session/session.ts";
import type { SessionSpec } from "../session/spec.ts";
import type { SavedSession, SessionStore } from "../session/store.ts";
import { Documents } from "./documents.ts";

/** Why a session closes when the whole server ends. */
export const SERVER_ENDS = "the server ends";
/** The same if the session goes on in the next server. */
export const SERVER_LETS_GO = "the server ends, and the session goes on";

export interface SupervisorOptions {
  readonly provisioner: Provisioner;
  readonly log: Log;
  readonly faults: Faults;
  readonly journal: SessionOptions["journal"];
  /** How many kernels may run at one time. Default: any number. */
  readonly maxKernels?: number | undefined;
  readonly culling?: CullingListener | undefined;
  /** Default: no listener. */
  readonly telemetry?: Telemetry | undefined;
  /** Default: no session outlives the server. */
  readonly keeping?: Keeping | undefined;
}

/** What the supervisor needs to keep sessions. */
export interface Keeping {
  readonly server_id: string;
  /** The provisioner of kernels that outlive the server. */
  readonly provisioner: Provisioner;
  /** Makes the store of a new session. Throws a system error. */
  create(session_id: string): SessionStore;
}

export class Supervisor implements AsyncDisposable {
  /** New at every start, so that a client can distinguish this server from an earlier one at the same address. A server that keeps sessions keeps its id too. */
  readonly server_id: string;
  readonly started = new Date();
  /** What Jupyter's clients call sessions. */
  readonly documents = new Documents();
  readonly #began = performance.now(); // the system clock may be set meanwhile
  readonly #options: SupervisorOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #listeners = new Set<(session: Session) => void>();
  readonly #culling: Disposable;
  #isClosing = false;
  #closed: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { log, faults, culling: listener } = options;
    this.server_id = options.keeping?.server_id ?? randomUUID();
    this.#culling = cullIdle({ supervisor: this, listener, log, faults });
  }

  get uptime_ms(): number {
    return performance.now() - this.#began;
  }

  /** In the order of their creation. */
  get sessions(): readonly Session[] {
    return [...this.#sessions.values()];
  }

  /** By its `session_id`, or by its `kernel_id`. Throws `session_not_found`. */
  session(session_id: string): Session {
    const session = this.findKernel(session_id);
    if (session === undefined)
      throw failure("session_not_found", { session_id });
    return session;
  }

  /** By its `kernel_id`, or by its `session_id`. */
  findKernel(kernel_id: string): Session | undefined {
    return (
      this.#sessions.get(kernel_id) ??
      this.sessions.find(({ spec }) => spec.kernel_id === kernel_id)
    );
  }

  /** Makes a session; nothing runs yet. Throws `session_exists`, `shutting_down`. */
  create(spec: SessionSpec): Session {
    this.assertOpen();
    const { session_id } = spec;
    if (this.#sessions.has(session_id)) {
      throw failure("session_exists", { session_id });
    }
    const { keeping, log, telemetry } = this.#options;
    if (spec.keep === true && keeping === undefined) {
      const why =
        "`keep` is true, and this server keeps no sessions: start it with --keep";
      throw failure("bad_configuration", { why });
    }
    const store =
      spec.keep === false ? undefined : storeFor(session_id, keeping);
    const session = this.#made(spec, store);
    log.info({ session: session_id }, "Session created");
    telemetry?.sessionCreated?.(named(spec));
    return session;
  }

  /** Takes over a session that an earlier server kept. It attaches to its kernel `after` this. */
  restore(
    { spec }: SavedSession,
    store: SessionStore,
    after?: Promise<unknown>,
  ): Session {
    const session = this.#made(spec, store, after);
    this.documents.restore(session);
    this.#options.log.info({ session: session.id }, "Session restored");
    return session;
  }

  /** How many sessions are being restored. */
  get restoring(): number {
    return this.sessions.filter(({ isRestored }) => !isRestored).length;
  }

  #made(
    spec: SessionSpec,
    store: SessionStore | undefined,
    restoreAfter?: Promise<unknown>,
  ): Session {
    const { session_id } = spec;
    const { keeping, log, faults, journal, telemetry } = this.#options;
    const provisioner =
      store === undefined || keeping === undefined
        ? this.#options.provisioner
        : keeping.provisioner;
    const session = new Session(spec, {
      provisioner,
      log: log.child({ session: session_id }),
      faults,
      journal,
      ...(telemetry !== undefined && { telemetry }),
      changed: (changed) => {
        for (const listener of this.#listeners) listener(changed);
      },
      store,
      restoreAfter,
    });
    this.#sessions.set(session_id, session);
    return session;
  }

  /** Throws `session_not_found`, `session_running`. */
  async delete(session_id: string): Promise<void> {
    const session = this.session(session_id);
    if (session.isRunning || session.isRestarting)
      throw failure("session_running", { session_id });
    this.#sessions.delete(session.id);
    this.documents.removeOf(session);
    await session.dispose();
    this.#options.log.info({ session: session.id }, "Session deleted");
    this.#options.telemetry?.sessionDeleted?.(named(session.spec));
  }

  /** Throws `shutting_down` once the end has begun. */
  assertOpen(): void {
    if (this.#isClosing) throw failure("shutting_down", {});
  }

  /** How many kernels may run beside those of the sessions. */
  get room(): number {
    const { maxKernels = Infinity } = this.#options;
    return Math.max(maxKernels - this.#running, 0);
  }

  /** Call it at the moment of a start. Throws `shutting_down`, or `resource_limit` if this session's kernel would be one too many. */
  assertMayStart(session: Session): void {
    this.assertOpen();
    const { maxKernels: limit = Infinity } = this.#options;
    if (session.isRunning || session.isRestarting) return;
    if (this.#running >= limit) throw failure("resource_limit", { limit });
  }

  get #running(): number {
    return this.sessions.filter(
      ({ isRunning, isRestarting }) => isRunning || isRestarting,
    ).length;
  }

  /** Calls `listener` at every change of any session's status or policy, until the returned function is called. */
  onChange(listener: (session: Session) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends the readers of kept sessions, and leaves these sessions to the next server. Dispose of the supervisor then, to end the others. */
  async letGo(): Promise<void> {
    this.#isClosing = true;
    await Promise.all(
      this.sessions
        .filter(({ isKept }) => isKept)
        .map(async (session) => {
          await session.letGo(SERVER_LETS_GO);
          this.#sessions.delete(session.id);
          this.#options.telemetry?.sessionDeleted?.(named(session.spec));
        }),
    );
  }

  /** Ends all kernels at the same time. Each is asked to shut down, then terminated, then killed; the longest of these sequences bounds the time. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    this.#closed ??= this.#close((session) => session.dispose(SERVER_ENDS));
    return this.#closed;
  }

  async #close(end: (session: Session) => Promise<void>): Promise<void> {
    this.#culling[Symbol.dispose]();
    await Promise.all(
      this.sessions.map(async (session) => {
        await end(session);
        this.#options.telemetry?.sessionDeleted?.(named(session.spec));
      }),
    );
    this.#sessions.clear();
  }
}

function named({ session_id, kernel_name }: SessionSpec): SessionNamed {
  return { session_id, kernel_name: kernel_name ?? null };
}

/** Throws `bad_configuration` if the session cannot be written down. */
function storeFor(
  session_id: string,
  keeping: Keeping | undefined,
): SessionStore | undefined {
  try {
    return keeping?.create(session_id);
  } catch (cause) {
    const { message } = cause as NodeJS.ErrnoException;
    const why = `the session cannot be kept: ${message}. Make the server's state directory writable, or create the session with \`keep: false\``;
    throw failure("bad_configuration", { why }, { cause });
  }
}
