/** The cost of the check that each frame is JSON, compared with other work on the same bytes. */
import { inWebAssembly, checkJson } from "../../src/jupyter/json-check.ts";
import { walk } from "../../src/jupyter/json-walk.ts";
import { Missing } from "../harness/kernel.ts";
import type { Question } from "../harness/question.ts";

const MIN_BYTES = 30_000_000; // of each text in each round

const TEXTS = {
  "290 B": stream("x".repeat(260)),
  "10 kB text": stream("a line of text, and another\n".repeat(360)),
  "1 MB text": stream("a line of text, and another\n".repeat(36_000)),
  "1 MB not ASCII": stream(
    "\u043f\u0440\u0438\u0432\u0435\u0442 ".repeat(77_000),
  ),
  "1 MB base64": display("image/png", "QUJD".repeat(250_000)),
  "1 MB numbers": display(
    "application/json",
    Array.from({ length: 53_000 }, (_, i) => Math.sin(i)),
  ),
};

const WAYS = {
  check: (bytes: Buffer) => checkJson(bytes),
  "check in JavaScript": (bytes: Buffer) => checkJson(bytes, walk),
  "JSON.parse": (bytes: Buffer) => JSON.parse(bytes.toString()) as unknown,
  copy: (bytes: Buffer) => Buffer.from(bytes),
};

export const question: Question = {
  asks: "What does the check that each frame is JSON cost?",
  async run(bench) {
    if (inWebAssembly() === undefined)
      throw new Missing("this runtime has no WebAssembly");
    for (const [name, bytes] of Object.entries(TEXTS)) {
      await bench.compare(
        name,
        Object.entries(WAYS).map(([way, on]) => ({
          name: way,
          run: () => Promise.resolve({ µs: costOf(on, bytes) }),
        })),
      );
    }
  },
};

/** µs of processor time for each call. */
function costOf(way: (bytes: Buffer) => unknown, bytes: Buffer): number {
  const calls = Math.max(5, Math.ceil(MIN_BYTES / bytes.length));
  for (let i = 0; i < calls >> 2; i += 1) way(bytes);
  const before = process.cpuUsage();
  for (let i = 0; i < calls; i += 1) way(bytes);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / calls;
}

function stream(text: string): Buffer {
  return Buffer.from(JSON.stringify({ name: "stdout", text }));
}

function display(type: string, value: unknown): Buffer {
  return Buffer.from(JSON.stringify({ data: { [type]: value }, metadata: {} }));
}
