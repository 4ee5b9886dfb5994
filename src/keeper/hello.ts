/**
 * The first frames of both sides. The magic and these frames are the same in all
 * versions of the protocol; the version of all other frames is the lower one of
 * both sides.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { VERSION } from "../package/version.ts";
import type { Exit } from "../host/exit.ts";
import type { Answered, LaunchedFacts } from "./events.ts";
import { LOWEST_PROTOCOL, PROTOCOL } from "./frames.ts";

interface Versions {
  readonly protocol: number;
  readonly lowest: number;
  /** Of the program. */
  readonly version: string;
}

/** How long kernels may run while no server is attached. `null`: for any time. */
export interface KeepTimes {
  /** Of kernels that run no code. Milliseconds. */
  readonly idle_timeout_ms: number | null;
  /** Of kernels that run code all the time. Milliseconds. */
  readonly busy_timeout_ms: number | null;
}

/** server → keeper. An older server does not say the times: the keeper keeps those that it has. */
export interface ServerHello extends Versions, Partial<KeepTimes> {
  readonly secret: string;
  /** Grows with each start of a server with this state. */
  readonly epoch: number;
  /** Names the server's process. */
  readonly server: string;
}

/** keeper → server: it is accepted. */
export interface KeeperHello extends Versions {
  readonly host: string;
  /** Identifies the boot of the machine; empty if unknown. */
  readonly boot_id: string;
  readonly pid: number;
  readonly runs: readonly RunFacts[];
}

/** keeper → server: it is not accepted, and the stream ends. */
export interface Refused extends Versions {
  readonly refused: "version" | "secret" | "displaced";
  /** `displaced`: the epoch of the server that the keeper has. */
  readonly epoch?: number;
}

/** A run that the keeper has, and the facts of it that have no event after its newest one. */
export interface RunFacts {
  readonly run_id: string;
  readonly session_id: string;
  /** The number of the oldest event that is kept; one past the newest if none is. */
  readonly oldest: number;
  readonly newest: number;
  readonly phase: "starting" | "running" | "ended";
  /** Each fact with the number of its event. */
  readonly launched?: Numbered<LaunchedFacts> | undefined;
  readonly answered?: Numbered<Answered> | undefined;
  readonly exited?: Numbered<Exit> | undefined;
  readonly directory?: string | undefined;
  /** Whether its heartbeat has stopped. */
  readonly is_silent: boolean;
}

export interface Numbered<T> {
  readonly number: number;
  readonly value: T;
}

export const versions: Versions = {
  protocol: PROTOCOL,
  lowest: LOWEST_PROTOCOL,
  version: VERSION,
};

/** Whether both sides have a version in common. */
export function isCompatible(peer: Partial<Versions>): boolean {
  const { protocol, lowest } = peer;
  if (!Number.isSafeInteger(protocol) || !Number.isSafeInteger(lowest)) {
    return false;
  }
  return (protocol ?? 0) >= LOWEST_PROTOCOL && (lowest ?? 0) <= PROTOCOL;
}

/** The version of the protocol that both sides speak. */
export function commonProtocol({ protocol = 0 }: Partial<Versions>): number {
  return Math.min(protocol, PROTOCOL);
}

/** `undefined` if the server has not said the time, or not one that can be. */
export function timeIn(value: unknown): number | undefined {
  if (value === null) return Infinity;
  return typeof value === "number" && value > 0 ? value : undefined;
}

/** In constant time, whatever their lengths. */
export function isSameSecret(given: unknown, secret: string): boolean {
  if (typeof given !== "string" || secret === "") return false;
  return timingSafeEqual(digestOf(given), digestOf(secret));
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
