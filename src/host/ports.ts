/**
 * Ports for kernels that are told where to bind.
 *
 * Between our look and the kernel's bind, anybody may take a port. So: five
 * probes are open at once, on the kernel's own address; what is handed out is
 * handed out to nobody else until it is released, nor for a while after; and the
 * numbers lie below every system's ephemeral range, from which outgoing
 * connections and other people's `bind(0)` are served.
 */
import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";
import type { Address, KernelPorts, Reservation } from "./address.ts";

/** Holds the numbers, not the sockets: the kernel is to bind them. */
export interface PortReservation extends Reservation {
  readonly ports: KernelPorts;
}

/** Throws when the address is none of ours, or when no five ports are to be had on it. */
export async function reservePorts(ip = "127.0.0.1"): Promise<PortReservation> {
  warmUp();
  const probes: Probe[] = [];
  try {
    while (probes.length < 5) probes.push(await openProbe(ip));
    const [control_port, shell_port, stdin_port, hb_port, iopub_port] =
      probes.map(({ port }) => port) as [
        number,
        number,
        number,
        number,
        number,
      ];
    return holding(
      { control_port, shell_port, stdin_port, hb_port, iopub_port },
      ip,
    );
  } catch (error) {
    for (const { port } of probes) reserved.delete(port);
    throw error;
  } finally {
    await Promise.all(probes.map(({ server }) => closed(server)));
  }
}

function holding(ports: KernelPorts, ip: string): PortReservation {
  const address: Address = { ...ports, transport: "tcp", ip };
  return {
    ports,
    address,
    [Symbol.dispose]() {
      const now = performance.now();
      for (const port of Object.values(ports) as number[]) {
        if (reserved.delete(port)) cooling.set(port, now);
      }
    },
  };
}

/** Process-wide, because so are ports. */
const reserved = new Set<number>();
/** When a port was released; at most as many as were released within `COOLING_MS`. */
const cooling = new Map<number, number>();

/** Old clients keep trying to reconnect to a port for some seconds. */
const COOLING_MS = 10_000;
/** Below 30000 (Kubernetes) and 32768 (Linux) and 49152 (macOS, Windows). */
const RANGE = [20_000, 30_000] as const;
/** In a range that is nearly empty, this many in a row are never taken. */
const ATTEMPTS = 50;

interface Probe {
  readonly port: number;
  readonly server: Server;
}

async function openProbe(ip: string): Promise<Probe> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(...RANGE);
    const probe = await tryProbe(ip, port);
    if (probe !== undefined) return probe;
  }
  // Then the range is somebody else's; the system's own choice is the next best.
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const probe = await tryProbe(ip, 0);
    if (probe !== undefined) return probe;
  }
  throw new Error(`There is no free port for a kernel on ${ip}`);
}

/** `undefined` when it is taken. Reserved before the first await, so that no two calls get one port. */
async function tryProbe(
  ip: string,
  wanted: number,
): Promise<Probe | undefined> {
  if (wanted !== 0) {
    if (isHandedOut(wanted)) return undefined;
    reserved.add(wanted);
  }
  const server = createServer((socket) => socket.destroy());
  try {
    const port = await listening(server, ip, wanted);
    if (wanted === 0) {
      if (isHandedOut(port)) {
        await closed(server);
        return undefined;
      }
      reserved.add(port);
    }
    return { port, server };
  } catch (error) {
    if (wanted !== 0) reserved.delete(wanted);
    const code = (error as NodeJS.ErrnoException).code;
    // EACCES: Windows keeps ranges of ports for itself.
    if (code === "EADDRINUSE" || code === "EACCES") return undefined;
    throw error;
  }
}

function isHandedOut(port: number): boolean {
  return reserved.has(port) || cooling.has(port);
}

function warmUp(): void {
  const now = performance.now();
  for (const [port, since] of cooling) {
    if (now - since < COOLING_MS) break; // They stand in the order of their release.
    cooling.delete(port);
  }
}

function listening(
  server: Server,
  host: string,
  port: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      resolve(
        typeof address === "object" && address !== null ? address.port : 0,
      );
    });
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
