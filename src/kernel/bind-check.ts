/**
 * Whether a kernel can be reached where it was told to bind: a port may be
 * somebody else's, and not every kernel knows Unix sockets. Then another attempt
 * may do better.
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

/** A port is somebody else's, or the kernel does not use Unix sockets. */
export type BindFailure = "ports" | "ipc";

/** How long a kernel that was never seen with Unix sockets may take to bind them; at most half of the time that its start has. */
const IPC_TIMEOUT_MS = 10_000;
/** What a kernel may print that cannot use the address that it was given. */
const SOCKET_ERROR = /zmq|\bbind|endpoint|transport|protocol|address/i;

/** One attempt, watched. */
export interface BindCheck {
  /** By which the kernel is to be reached. */
  readonly transport: KernelTransport;
  /** Resolves once it is clear that the kernel will not be reached like this; pends otherwise. */
  failure(signal: AbortSignal): Promise<BindFailure>;
  /** Of a kernel that has answered: whether somebody else stands at another of its ports. */
  afterAnswer(): Promise<BindFailure | undefined>;
  /** What may have made the kernel exit. */
  afterExit(exit: Exit): Promise<BindFailure | undefined>;
  /** What may be behind a connection that failed. */
  afterError(error: unknown): BindFailure | undefined;
}

export interface BindCheckOptions {
  readonly transport: KernelTransport;
  /** `undefined` where the kernel has chosen its ports itself. */
  readonly reservation: Reservation | undefined;
  readonly support: IpcSupport;
  readonly timeout_ms: number | undefined;
  /** No other attempt follows: it has all the time that there is. */
  readonly isLast: boolean;
  /** What the kernel has printed so far. */
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
      if (signal !== null) return undefined; // somebody killed it
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
      // Somebody killed it, or it could use them, or it shall have no others.
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
