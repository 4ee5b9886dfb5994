/** A log whose lines a test can read. */
import { pino } from "pino";
import type { Log } from "../src/log/log.ts";

export interface RecordedLine {
  readonly msg: string;
  readonly level: number;
  readonly session?: string;
  readonly [binding: string]: unknown;
}

export function recordingLog(): { log: Log; lines: RecordedLine[] } {
  const lines: RecordedLine[] = [];
  const write = (text: string) => lines.push(JSON.parse(text) as RecordedLine);
  return { log: pino({ base: null }, { write }), lines };
}
