/**
 * Checks whether a kernel can be reached at the address that it was told to bind.
 * Another process may use the port, and not every kernel supports Unix sockets.
 * Then another attempt may succeed.
 */
import type { Reservation } from "../host/address.ts";
import type { Exit } from "../host/exit.ts";
import { within } from "../time/within.ts";
import type { KernelTransport } from "../zmq/transport.ts";
import type { IpcSupport } from "./ipc.ts";
import {
  reportsTakenPort,
  isAnyTaken,
  portsOf,
  watchPorts,
} from "./port-watch.ts";
import { isFault } from "./fault.ts";

/** Another process uses a port, or the kernel does not use Unix sockets. */
export type BindFailure = "ports" | "ipc";

/** How long a kernel that is not known to support Unix sockets may take to bind them; at most half of the timeout of its start. */
const IPC_TIMEOUT_MS = 10_000;
/** Words that a kernel may print if it cannot use its address. */
const SOCKET_ERROR = /zmq|\bbind|endpoint|transport|protocol|address/i;

/** The check of one attempt. */
export interface BindCheck {
  /** Connects to the kernel. */
  readonly transport: KernelTransport;
  /** Resolves when it is certain that this attempt cannot reach the kernel; otherwise it stays pending. */
  failure(signal: AbortSignal): Promise<BindFailure>;
  /** For a kernel that has answered: whether another process uses one of its other ports. */
  afterAnswer(): Promise<BindFailure | undefined>;
  /** The bind failure that may have made the kernel exit. */
  afterExit(exit: Exit): Promise<BindFailure | undefined>;
  /** The bind failure that may have caused a connection error. */
  afterError(error: unknown): BindFailure | undefined;
}

export interface BindCheckOptions {
  readonly transport: KernelTransport;
  /** `undefined` if the kernel has chosen its ports itself. */
  readonly reservation: Reservation | undefined;
  readonly support: IpcSupport;
  readonly timeout_ms: number | undefined;
  /** Whether no other attempt follows. The last attempt may use all remaining time. */
  readonly isLast: boolean;
  /** The kernel's output so far. */
  readonly printed: () => string;
}

export function bindCheckOf(options: BindCheckOptions): BindCheck {
  const { reservation, transport } = options;
  if (reservation === undefined) return noCheck(transport);
  return reservation.bound === undefined
    ? checkOfPorts(reservation, options)
    : checkOfSockets({ ...reservation, bound: reservation.bound }, options);
}

function noCheck(transport: KernelTransport): BindCheck {
  return {
    transport,
    failure: never,
    afterAnswer: () => Promise.resolve(undefined),
    afterExit: () => Promise.resolve(undefined),
    afterError: () => undefined,
  };
}

function checkOfPorts(
  { address }: Reservation,
  { transport, isLast, printed }: BindCheckOptions,
): BindCheck {
  const watch = watchPorts(transport, address);
  return {
    transport: watch.transport,
    async failure(signal) {
      const isLost = !isLast && (await watch.portLost(printed, signal));
      return isLost ? "ports" : never();
    },
    async afterAnswer() {
      return !isLast && (await watch.reachesForeignProcess())
        ? "ports"
        : undefined;
    },
    async afterExit({ signal }) {
      if (signal !== null) return undefined; // the kernel was killed
      const isTaken =
        reportsTakenPort(portsOf(address), printed()) ||
        (await isAnyTaken(address));
      return isTaken ? "ports" : undefined;
    },
    afterError: (error) =>
      isFault(error, "channel_lost") || watch.hasRefused ? "ports" : undefined,
  };
}

function checkOfSockets(
  { address, bound }: Pick<Required<Reservation>, "address" | "bound">,
  { transport, support, isLast, timeout_ms, printed }: BindCheckOptions,
): BindCheck {
  let isBound = false;
  return {
    ...noCheck(transport),
    async failure(signal) {
      const bind_timeout_ms = Math.min(
        IPC_TIMEOUT_MS,
        (timeout_ms ?? Infinity) / 2,
      );
      const all = bound(signal).then(() => true);
      const isSure = support !== "unknown" || isLast;
      isBound = (await (isSure ? all : within(all, bind_timeout_ms))) === true;
      return isBound ? never() : "ipc";
    },
    afterExit({ signal }) {
      // The kernel was killed, or it has bound its sockets, or it must not get ports.
      const isExcluded = signal !== null || isBound || support === "required";
      const text = printed();
      const isNamed = /\bipc\b/i.test(text) || text.includes(address.ip);
      const isLikely = support === "unknown" && SOCKET_ERROR.test(text);
      const isMisfit = !isExcluded && (isNamed || isLikely);
      return Promise.resolve(isMisfit ? "ipc" : undefined);
    },
  };
}

function never(): Promise<never> {
  return new Promise(() => {});
}
