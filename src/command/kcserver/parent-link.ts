/**
 * The channel between a `kcserver` with `--state-dir` and the process that runs its
 * server. The first one is the parent: it holds the process id and the listening
 * socket, and starts another server when the server is killed.
 */
import type { Address } from "../../server/bind.ts";

/** The variable that marks the process that runs the server. Its value is the parent's process id. */
export function parentMark(pid: number): Record<string, string> {
  return { KALLICHORE_PARENT_PID: String(pid) };
}

/** What the parent tells a server first. */
export interface Orders {
  /** The name of the server's state. */
  readonly state_name: string;
  /** Present if a server before this one has ended without being asked to. */
  readonly restart?: {
    readonly address: Address;
    /** How the server before ended, such as `SIGKILL`. */
    readonly ended: string;
  };
}

/** What a server tells its parent. */
export type Report =
  | { readonly kind: "listening"; readonly address: Address }
  /** It ends because it was asked to, or it could not be started at all. */
  | { readonly kind: "ended"; readonly code: number };

export interface ParentLink {
  /** The parent's process id. */
  readonly pid: number;
  readonly orders: Orders;
  /** The socket that the parent holds; `undefined` if this server must make it. */
  readonly handle: unknown;
  /** Aborted when the parent is gone. */
  readonly gone: AbortSignal;
  /** The parent holds the socket from then on. */
  listening(address: Address, handle: unknown): void;
  /** Resolves when the parent knows the exit code. */
  ended(code: number): Promise<void>;
}

/** How long the parent may take to send its orders. */
const ORDERS_MS = 10_000;

/** The link of a process that a parent has started; `undefined` for others. Removes the mark, so that kernels do not inherit it. */
export async function parentLink(
  env: NodeJS.ProcessEnv,
): Promise<ParentLink | undefined> {
  const pid = Number(env["KALLICHORE_PARENT_PID"]);
  delete env["KALLICHORE_PARENT_PID"];
  if (!(pid > 0) || process.send === undefined) return undefined;
  const send = process.send.bind(process) as (
    message: Report,
    handle?: unknown,
    options?: object,
    sent?: (error: Error | null) => void,
  ) => boolean;
  const gone = new AbortController();
  process.once("disconnect", () => gone.abort());
  const { orders, handle } = await firstOrders(gone.signal);
  return {
    pid,
    orders,
    handle,
    gone: gone.signal,
    listening(address, held) {
      // The parent's end is noticed by `gone`; until then an error changes nothing.
      send({ kind: "listening", address }, held, {}, () => {});
    },
    ended: (code) =>
      new Promise((resolve) => {
        if (!process.connected) resolve();
        else send({ kind: "ended", code }, undefined, {}, () => resolve());
      }),
  };
}

function firstOrders(
  gone: AbortSignal,
): Promise<{ readonly orders: Orders; readonly handle: unknown }> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error("The parent process sent no orders")),
      ORDERS_MS,
    );
    gone.addEventListener("abort", () =>
      reject(new Error("The parent process is gone")),
    );
    process.once("message", (orders: Orders, handle: unknown) => {
      clearTimeout(timer);
      resolve({ orders, handle });
    });
  });
}
