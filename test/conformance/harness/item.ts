/**
 * What the kit is made of: items, in groups that share a server. Ids are stable: they are what one report is
 * compared with another by, so a number that goes is not given again.
 */
import type { Ground } from "./ground.ts";

/** `same`: Kallichore 0.1.64 does it too. `mended`: it is known not to, and a successor must. */
export type Mark = "same" | "mended";

export interface Facts {
  readonly id: string;
  readonly claim: string;
  readonly source: string;
  readonly mark: Mark;
  /** Runs only when slow items are asked for. */
  readonly slow?: boolean;
  /** How long the whole item may take; it fails after that. */
  readonly timeout_ms?: number;
}

export interface Item<World> extends Facts {
  readonly run: (world: World) => Promise<void>;
}

export interface Outline<World> {
  /** The prefix of the items' ids. */
  readonly id: string;
  /** False when no item starts one of the kit's own kernels. */
  readonly needsKernels?: boolean;
  /** True when every item starts servers of its own, which end with it. */
  readonly apart?: boolean;
  readonly open: (ground: Ground) => Promise<World>;
  readonly items: readonly Item<World>[];
}

/** An outline with its kind of world hidden, so that all groups stand in one list. */
export interface Group {
  readonly id: string;
  readonly needsKernels: boolean;
  readonly apart: boolean;
  readonly items: readonly Facts[];
  /** Makes the world that the items share; the answer runs one item in it. */
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
