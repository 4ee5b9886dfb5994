/**
 * Reserves TCP ports for kernels that are told where to bind.
 *
 * Between the probe here and the kernel's bind, another process may take a
 * port. Three rules make that unlikely. All five probes are open at the same
 * time, on the kernel's address. A reserved port is given to no other kernel
 * until it is released, and for a while after. The numbers are below every
 * system's ephemeral range, from which outgoing connections and `bind(0)` get
 * their ports.
 */
import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";
import type { KernelAddress, KernelPorts, Reservation } from "./address.ts";

/** Reserves the numbers, not the sockets: the kernel binds them. */
export interface PortReservation extends Reservation {
  readonly ports: KernelPorts;
}

/** Throws if the address does not belong to this machine, or if it has no five free ports. */
export async function reservePorts(ip = "127.0.0.1"): Promise<PortReservation> {
  endCooldowns();
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
    return reservationOf(
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

function reservationOf(ports: KernelPorts, ip: string): PortReservation {
  const address: KernelAddress = { ...ports, transport: "tcp", ip };
  return {
    ports,
    address,
    [Symbol.dispose]() {
      const now = performance.now();
      for (const port of Object.values(ports) as number[]) {
        if (reserved.delete(port)) cooldowns.set(port, now);
      }
    },
  };
}

/** One set for the whole process, because ports are shared by the whole machine. */
const reserved = new Set<number>();
/** The release time of each port that was released within the last `COOLING_MS`. */
const cooldowns = new Map<number, number>();

/** A released port is not reused for this long: old clients try to reconnect to it for some seconds. */
const COOLDOWN_MS = 10_000;
/** Below 30000 (Kubernetes) and 32768 (Linux) and 49152 (macOS, Windows). */
const RANGE = [20_000, 30_000] as const;
/** If the range is mostly free, so many random ports in a row are never all taken. */
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
  // Other processes use the whole range: let the system choose a port.
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const probe = await tryProbe(ip, 0);
    if (probe !== undefined) return probe;
  }
  throw new Error(`No free port was found for a kernel on ${ip}`);
}

/** `undefined` if the port is taken. Reserves the port before the first await, so that two calls never get the same port. */
async function tryProbe(
  ip: string,
  requested: number,
): Promise<Probe | undefined> {
  if (requested !== 0) {
    if (isHandedOut(requested)) return undefined;
    reserved.add(requested);
  }
  const server = createServer((socket) => socket.destroy());
  try {
    const port = await listening(server, ip, requested);
    if (requested === 0) {
      if (isHandedOut(port)) {
        await closed(server);
        return undefined;
      }
      reserved.add(port);
    }
    return { port, server };
  } catch (error) {
    if (requested !== 0) reserved.delete(requested);
    const code = (error as NodeJS.ErrnoException).code;
    // EACCES: Windows reserves ranges of ports.
    if (code === "EADDRINUSE" || code === "EACCES") return undefined;
    throw error;
  }
}

function isHandedOut(port: number): boolean {
  return reserved.has(port) || cooldowns.has(port);
}

function endCooldowns(): void {
  const now = performance.now();
  for (const [port, since] of cooldowns) {
    if (now - since < COOLDOWN_MS) break; // The map is in the order of release.
    cooldowns.delete(port);
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
