/**
 * The parts of the kit: items, in groups that share a server. Ids are stable,
 * because reports are compared by them. So the number of a removed item is not
 * used again.
 */
import type { Ground } from "./ground.ts";

/** `same`: Kallichore 0.1.64 does it too. `mended`: Kallichore is known not to do it, and a successor must. */
export type Mark = "same" | "mended";

export interface Facts {
  readonly id: string;
  readonly claim: string;
  readonly source: string;
  readonly mark: Mark;
  /** Runs only with `--slow`. */
  readonly slow?: boolean;
  /** The timeout of the whole item. */
  readonly timeout_ms?: number;
}

export interface Item<World> extends Facts {
  readonly run: (world: World) => Promise<void>;
}

export interface Outline<World> {
  /** The prefix of the items' ids. */
  readonly id: string;
  /** False if no item starts one of the kit's own kernels. */
  readonly needsKernels?: boolean;
  /** True if every item starts its own servers. */
  readonly apart?: boolean;
  readonly open: (ground: Ground) => Promise<World>;
  readonly items: readonly Item<World>[];
}

/** An outline without the type of its world, so that all groups fit into one list. */
export interface Group {
  readonly id: string;
  readonly needsKernels: boolean;
  readonly apart: boolean;
  readonly items: readonly Facts[];
  /** Makes the world that the items share. The result runs one item in it. */
  readonly open: (ground: Ground) => Promise<(id: string) => Promise<void>>;
}

export function group<World>(outline: Outline<World>): Group {
  const { id, needsKernels = true, apart = false, items } = outline;
  return {
    id,
    needsKernels,
    apart,
    items,
    open: async (ground) => {
      const world = await outline.open(ground);
      return async (wanted) => {
        await items.find((item) => item.id === wanted)?.run(world);
      };
    },
  };
}

export const KALLICHORE = "Kallichore 0.1.64 behaviour";
export const FAULT = "Kallichore 0.1.64, known fault";
