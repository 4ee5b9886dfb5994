/**
 * What does it cost that each frame is checked to be JSON?
 *
 *     npx tsx bench/entrance.ts [rounds]
 *
 * First the check alone, beside what else could be done with the same bytes:
 * the walk in WebAssembly, the one in JavaScript, JSON.parse, and a copy. Then
 * the whole relay to one channel, with the check and without it, round by round.
 */
import { inWebAssembly, verdictOn } from "../src/jupyter/json-check.ts";
import { walk } from "../src/jupyter/json-walk.ts";
import { CASES, median, relay } from "./relay.ts";

const LEAST_BYTES = 30_000_000; // of each text in each round
const rounds = Number(process.argv[2] ?? 5);
const wasm = inWebAssembly();
if (wasm === undefined) throw new Error("No WebAssembly here");

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
  check: (bytes: Buffer) => verdictOn(bytes),
  "in JavaScript": (bytes: Buffer) => verdictOn(bytes, walk),
  parse: (bytes: Buffer) => JSON.parse(bytes.toString()) as unknown,
  copy: (bytes: Buffer) => Buffer.from(bytes),
};

for (const [name, bytes] of Object.entries(TEXTS)) {
  const costs = Object.values(WAYS).map((): number[] => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, way] of Object.values(WAYS).entries()) {
      costs[index]?.push(costOf(way, bytes));
    }
  }
  const line = Object.keys(WAYS).map(
    (way, index) => `${way} ${median(costs[index] ?? []).toFixed(2)}`,
  );
  console.log(`check ${name.padEnd(14)} µs: ${line.join(", ")}`);
}

for (const what of CASES) {
  const costs: Record<"kallichore" | "unchecked", number[]> = {
    kallichore: [],
    unchecked: [],
  };
  for (let round = 0; round < rounds; round += 1) {
    costs.kallichore.push(await relay("kallichore", what));
    costs.unchecked.push(await relay("unchecked", what));
  }
  const checked = median(costs.kallichore);
  const unchecked = median(costs.unchecked);
  console.log(
    `relay ${what.name.padEnd(5)} µs/msg: checked ${checked.toFixed(1)}, unchecked ${unchecked.toFixed(1)} (${(checked / unchecked).toFixed(2)})`,
  );
}

/** µs of processor time a call. */
function costOf(way: (bytes: Buffer) => unknown, bytes: Buffer): number {
  const calls = Math.max(5, Math.ceil(LEAST_BYTES / bytes.length));
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
