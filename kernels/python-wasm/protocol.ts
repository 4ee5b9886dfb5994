/**
 * The messages between the two threads: the main thread, which has the sockets,
 * and the worker, which runs Python and may be unresponsive for long.
 *
 * Contents travel as JSON text, written or read by Python. While Python runs,
 * the worker reads no messages. Data that must reach it then goes through the
 * shared memory below, or through a port that the worker reads when it wakes.
 */
import type { MessagePort } from "node:worker_threads";

export interface WorkerData {
  readonly memory: SharedArrayBuffer;
  /** Answers to `input`. */
  readonly answers: MessagePort;
}

/** Bytes in the shared memory: the signal, and three 32-bit words. */
export const MEMORY_BYTES = 16;

/** The indices of the words. The signal is byte 0, which Pyodide reads between bytecodes. */
export const WAKE = 1; // is incremented whenever a waiting worker must check its state
export const UNREAD = 2; // bytes from the worker that the main thread has not passed on yet

/** Beyond this limit the worker waits: Python can print faster than sockets can send. */
export const UNREAD_LIMIT = 32 * 1024 * 1024;

export const SIGINT = 2;

/** main thread → worker */
export type WorkerRequest =
  | {
      readonly kind: RequestKind;
      readonly id: number;
      readonly content: string;
      readonly buffers: readonly Uint8Array[];
    }
  | { readonly kind: "interrupt" };

export type RequestKind =
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

/** The size of an event that counts towards `UNREAD_LIMIT`. */
export function unreadBytes(event: WorkerEvent): number {
  if (event.kind === "stream") return event.text.length;
  if (event.kind !== "publish") return 0;
  return event.buffers.reduce(
    (sum, { length }) => sum + length,
    event.content.length,
  );
}
