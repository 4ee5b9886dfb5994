/**
 * Runs groups one after another, each on its own ground. After a failed item,
 * the rest of its group gets a new server, so that one fault is reported once.
 * The check for leftovers of a group is an item like the others.
 */
import { Refuted, Skipped } from "./check.ts";
import { Ground } from "./ground.ts";
import type { Settings } from "./ground.ts";
import { FAULT, KALLICHORE } from "./item.ts";
import type { Facts, Group } from "./item.ts";

export type Outcome = "passed" | "failed" | "skipped";

export interface Result extends Facts {
  readonly outcome: Outcome;
  /** The observation, or the reason why the item was skipped. */
  readonly seen: string;
  readonly took_ms: number;
}

export interface Selection {
  readonly settings: Settings;
  readonly only: string;
  readonly slow: boolean;
  /** Set if no kernel of the kit can run here. */
  readonly kernelless: string | undefined;
}

const TIMEOUT_MS = 30_000;

/** Checked first: if the program does not start, the other items are not tried. */
const FIRST: Facts = {
  id: "START-00",
  claim: "the server starts on TCP and on a Unix socket, and ends on SIGTERM",
  source: KALLICHORE,
  mark: "same",
};

export async function* runAll(
  groups: readonly Group[],
  selection: Selection,
): AsyncGenerator<Result> {
  const began = performance.now();
  const first = await judged(FIRST, async () => {
    const ground = new Ground(selection.settings);
    try {
      await ground.start({ transport: "tcp" });
      await ground.start({ transport: "socket" });
    } finally {
      await ground.close();
    }
  });
  const starts = first.outcome === "passed";
  if (!starts || FIRST.id.startsWith(selection.only))
    yield {
      ...FIRST,
      ...first,
      took_ms: Math.round(performance.now() - began),
    };
  for (const group of groups) {
    if (starts) yield* runGroup(group, selection);
    else yield* notTried(group, selection.only);
  }
}

function* notTried(group: Group, only: string): Generator<Result> {
  const seen = `${FIRST.id} failed`;
  for (const item of itemsOf(group))
    if (item.id.startsWith(only))
      yield { ...item, outcome: "skipped", seen, took_ms: 0 };
}

/** The items of a group, with the item for its leftovers. */
export function itemsOf(group: Group): readonly Facts[] {
  const left: Facts = {
    id: `${group.id}-LEFT`,
    claim: `the servers of group ${group.id} end on SIGTERM and leave no process and no temporary file`,
    source: FAULT,
    mark: "mended",
  };
  return [...group.items, left];
}

async function* runGroup(
  group: Group,
  selection: Selection,
): AsyncGenerator<Result> {
  const { only, slow, kernelless } = selection;
  const requested = itemsOf(group).filter((item) => item.id.startsWith(only));
  const wanted: Facts[] = [];
  for (const item of requested) {
    const isLeft = item.id === `${group.id}-LEFT`;
    if (group.needsKernels && kernelless !== undefined)
      yield { ...item, outcome: "skipped", seen: kernelless, took_ms: 0 };
    else if (item.slow === true && !slow)
      yield {
        ...item,
        outcome: "skipped",
        seen: "slow; run with --slow",
        took_ms: 0,
      };
    else if (!isLeft) wanted.push(item);
  }
  const left = requested.find((item) => item.id === `${group.id}-LEFT`);
  if (kernelless !== undefined && group.needsKernels) return;
  const remains: string[] = [];
  let ground: Ground | undefined;
  let runItem: ((id: string) => Promise<void>) | undefined;
  let broken: Error | undefined; // the world could not be made; it is not tried again
  for (const item of wanted) {
    const began = performance.now();
    const result = await judged(item, async () => {
      ground ??= new Ground(selection.settings);
      if (broken !== undefined) throw broken;
      runItem ??= await group.open(ground).catch((error: unknown) => {
        broken = error instanceof Error ? error : new Error(String(error));
        throw broken;
      });
      await runItem(item.id);
    });
    yield {
      ...item,
      ...result,
      took_ms: Math.round(performance.now() - began),
    };
    if (result.outcome !== "failed" && !group.apart) continue;
    remains.push(...((await ground?.close()) ?? []));
    ground = undefined;
    runItem = undefined;
  }
  remains.push(...((await ground?.close()) ?? []));
  if (left === undefined) return;
  yield wanted.length === 0
    ? {
        ...left,
        outcome: "skipped",
        seen: "no item of the group ran",
        took_ms: 0,
      }
    : {
        ...left,
        outcome: remains.length === 0 ? "passed" : "failed",
        seen: remains.join("\n"),
        took_ms: 0,
      };
}

async function judged(
  item: Facts,
  run: () => Promise<void>,
): Promise<{ outcome: Outcome; seen: string }> {
  const timeout_ms = item.timeout_ms ?? TIMEOUT_MS;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Refuted(`the item was not over within ${timeout_ms} ms`));
    }, timeout_ms);
  });
  try {
    await Promise.race([run(), late]);
    return { outcome: "passed", seen: "" };
  } catch (error) {
    if (error instanceof Skipped)
      return { outcome: "skipped", seen: error.message };
    if (error instanceof Refuted)
      return { outcome: "failed", seen: error.message };
    return { outcome: "failed", seen: String(error) };
  } finally {
    clearTimeout(timer);
  }
}
