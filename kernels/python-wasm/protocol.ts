/**
 * What the two threads say to each other: the main thread, which has the
 * sockets, and the worker, in which Python runs and which may be deaf for long.
 *
 * Contents travel as the JSON text that Python wrote or will read. While Python
 * runs, the worker reads no messages; what must reach it then goes through the
 * shared memory below, or through a port that it reads when it is woken.
 */
import type { MessagePort } from "node:worker_threads";

export interface WorkerData {
  readonly memory: SharedArrayBuffer;
  /** Answers to `input`. */
  readonly answers: MessagePort;
}

/** Bytes in the shared memory: the signal, and three 32-bit words. */
export const MEMORY_BYTES = 16;

/** The words. The signal is the byte 0, where Pyodide looks for it between bytecodes. */
export const WAKE = 1; // counts up whenever a worker that waits must look around
export const UNREAD = 2; // bytes said by the worker that the main thread has not passed on

/** Beyond this the worker waits: Python prints faster than sockets carry. */
export const UNREAD_LIMIT = 32 * 1024 * 1024;

export const SIGINT = 2;

/** main thread → worker */
export type WorkerRequest =
  | {
      readonly kind: Question;
      readonly id: number;
      readonly content: string;
      readonly buffers: readonly Uint8Array[];
    }
  | { readonly kind: "interrupt" };

export type Question =
  "execute" | "complete" | "inspect" | "is_complete" | "comm" | "comm_info";

/** worker → main thread */
export type WorkerEvent =
  | {
      readonly kind: "ready";
      readonly version: string;
      readonly fromSnapshot: boolean;
    }
  | {
      readonly kind: "stream";
      readonly id: number;
      readonly name: "stdout" | "stderr";
      readonly text: string;
    }
  | {
      readonly kind: "publish";
      readonly id: number;
      readonly msg_type: string;
      readonly content: string;
      readonly metadata: string;
      readonly buffers: readonly Uint8Array[];
    }
  | {
      readonly kind: "input";
      readonly id: number;
      readonly prompt: string;
      readonly password: boolean;
    }
  | { readonly kind: "done"; readonly id: number; readonly content: string };

/** What a said thing weighs against `UNREAD_LIMIT`. */
export function weight(said: WorkerEvent): number {
  if (said.kind === "stream") return said.text.length;
  if (said.kind !== "publish") return 0;
  return said.buffers.reduce(
    (sum, { length }) => sum + length,
    said.content.length,
  );
}
