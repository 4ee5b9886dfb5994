/**
 * Finds out whether a foreign process has a port that a kernel was told to bind.
 *
 * Between the server's choice of the ports and the kernel's bind, any program may
 * take a port. Some kernels then exit; others print an error and stay, or stay
 * silent. So the five links are watched until the kernel has answered. The kernel
 * has lost a port if it prints so, if the peer at the port does not use ZeroMQ, or
 * if some of the five links connect and others do not.
 */
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { KernelAddress } from "../host/address.ts";
import type {
  KernelTransport,
  Link,
  LinkOptions,
  LinkState,
} from "../zmq/transport.ts";

/** The time between two checks. */
const POLL_MS = 250;
/** How long a kernel that has reported a taken address may still take to answer. */
const REPORT_GRACE_MS = 1_500;
/** The longest time from the first of the five connections to the last: a kernel binds all five ports together, and a link tries again within a second. */
const PARTIAL_MS = 2_500;
/** The time between two probes of ports without a link. */
const PROBE_MS = 750;
/** How long a ZeroMQ peer may take to send its greeting; it sends it right after it accepts a connection. */
const GREETING_MS = 1_000;

/** What the links of one launch show. */
export interface PortWatch {
  /** The driver, with watched links. */
  readonly transport: KernelTransport;
  /** Whether the driver gave up a peer that is not a kernel. */
  readonly hasRefused: boolean;
  /**
   * Resolves with true once a foreign process is known to have a port, and with
   * false when `signal` aborts. `output`: what the kernel has printed so far.
   */
  portLost(output: () => string, signal: AbortSignal): Promise<boolean>;
  /** For a kernel that has answered: whether an unconnected link reaches a foreign process. */
  reachesForeignProcess(): Promise<boolean>;
}

export function watchPorts(
  transport: KernelTransport,
  address: KernelAddress,
): PortWatch {
  const links = new Map<string, LinkState | "refused">();
  let firstConnected: number | undefined;

  const has = (state: LinkState | "refused"): boolean =>
    [...links.values()].includes(state);
  const hasForeignProcess = async (): Promise<boolean> => {
    const checks = [...links]
      .filter(([, state]) => state === "connecting")
      .map(([endpoint]) => isForeignProcess(address.ip, portOf(endpoint)));
    return (await Promise.all(checks)).includes(true);
  };
  const connect = (options: LinkOptions): Link => {
    const { endpoint } = options;
    links.set(endpoint, "connecting");
    return transport.connect({
      ...options,
      onState: (state, error) => {
        const isRefused = state === "closed" && error !== undefined;
        links.set(endpoint, isRefused ? "refused" : state);
        if (state === "connected") firstConnected ??= performance.now();
        options.onState?.(state, error);
      },
    });
  };

  return {
    transport: { name: transport.name, connect },
    get hasRefused() {
      return has("refused");
    },
    async portLost(output, signal) {
      let reportedAt: number | undefined;
      let probedAt = performance.now();
      let foundForeignProcess = false;
      const ports = portsOf(address);
      while (!signal.aborted) {
        const now = performance.now();
        if (reportedAt === undefined && reportsTakenPort(ports, output())) {
          reportedAt = now;
        }
        const isPartial = has("connected") && has("connecting");
        const isLost =
          has("refused") ||
          (reportedAt !== undefined && now - reportedAt >= REPORT_GRACE_MS) ||
          (isPartial && now - (firstConnected ?? now) >= PARTIAL_MS) ||
          foundForeignProcess;
        if (isLost) return true;
        if (now - probedAt >= PROBE_MS) {
          probedAt = now;
          void hasForeignProcess().then(
            (found) => (foundForeignProcess ||= found),
          );
        }
        await delay(POLL_MS, undefined, { signal }).catch(() => {}); // aborted: the loop ends
      }
      return false;
    },
    reachesForeignProcess: async () =>
      has("refused") || (await hasForeignProcess()),
  };
}

/** Whether a kernel, or its libraries, printed that one of these ports is taken. A line that names other ports only is about something else. */
export function reportsTakenPort(
  ports: readonly number[],
  output: string,
): boolean {
  return output.split("\n").some((line) => {
    if (!/address (is )?already in use|EADDRINUSE|address in use/i.test(line)) {
      return false;
    }
    const named = line.match(/\b\d{4,5}\b/g)?.map(Number) ?? [];
    return named.length === 0 || named.some((port) => ports.includes(port));
  });
}

/** Whether a process listens on one of its ports after the kernel has exited. */
export async function isAnyTaken(address: KernelAddress): Promise<boolean> {
  const checks = portsOf(address).map((port) => isAccepted(address.ip, port));
  return (await Promise.all(checks)).includes(true);
}

export function portsOf(address: KernelAddress): number[] {
  const { shell_port, iopub_port, stdin_port, control_port, hb_port } = address;
  return [shell_port, iopub_port, stdin_port, control_port, hb_port];
}

function portOf(endpoint: string): number {
  return Number(/:(\d+)$/.exec(endpoint)?.[1]);
}

/** Whether a program accepts connections and does not send the greeting of ZeroMQ. Never rejects. */
function isForeignProcess(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let timer: NodeJS.Timeout | undefined;
    const end = (found: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(found);
    };
    socket.once("connect", () => {
      if (isItself(socket)) end(false);
      else timer = setTimeout(() => end(true), GREETING_MS);
    });
    // 0xff begins the greeting of every ZMTP since 2.0; before, a length of 1 did.
    socket.once("data", (bytes) => end(bytes[0] !== 0xff && bytes[0] !== 1));
    socket.once("error", () => end(false));
    socket.once("close", () => end(false)); // a kernel that ends
  });
}

/** Never rejects. */
function isAccepted(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once("connect", () => {
      const found = !isItself(socket);
      socket.resetAndDestroy();
      resolve(found);
    });
    socket.once("error", () => resolve(false));
  });
}

/** TCP can connect a port to itself if no process listens. */
function isItself({
  localPort,
  remotePort,
}: {
  readonly localPort?: number | undefined;
  readonly remotePort?: number | undefined;
}): boolean {
  return localPort === remotePort;
}
