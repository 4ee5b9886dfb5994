/**
 * Which process Linux kills if there is no memory left: a kernel, and not the
 * server or the keeper that holds all kernels.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { descendantsOf } from "./process-table.ts";

/** In thousandths of the memory of the machine or the control group: a kernel counts as if it used so much more. */
const OFFSET = 500;
const HIGHEST = 1000;

/**
 * Call it right after the spawn: children that the process starts later inherit
 * the score. Without the score (another system, or the process has ended), the
 * process still runs.
 */
export function raiseOomScore(pid: number): void {
  if (process.platform !== "linux") return;
  const own = scoreOf("self");
  if (own === undefined) return;
  const score = String(Math.min(own + OFFSET, HIGHEST));
  setScore(pid, score);
  for (const child of descendantsOf([pid])) setScore(child, score); // they were started before
}

function scoreOf(pid: "self" | number): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/oom_score_adj`, "latin1"));
  } catch {
    return undefined;
  }
}

function setScore(pid: number, score: string): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, score);
  } catch {
    // it has ended, or the system does not allow it
  }
}
