/** A restart of the server in memory: its sessions are taken over, and their kernels go on. */
import type { Provisioner } from "../src/kernel/kernel.ts";
import {
  type Keeping,
  SERVER_LETS_GO,
  type Supervisor,
} from "../src/supervisor/supervisor.ts";
import { MemoryStore } from "./memory-store.ts";
import { MockKeeper } from "./mock-keeper.ts";

/** What a restart of the server does to its sessions. */
export interface RestartOptions {
  /** Whether sessions are attached to their kernels at once. Otherwise they are `offline` (reason `restoring`) until `attach` is called. Default: true. */
  readonly attach?: boolean;
  /** `gone`: the kernels have ended meanwhile, as after a restart of the machine. Default: `running`. */
  readonly kernels?: "running" | "gone";
  /** So many of the first things that each kernel does until `attach` are lost: the session says so on stderr. Needs `attach: false`. Default: 0. */
  readonly lost?: number;
  /** Events up to this number of each session do not exist any more: a reader that continues before it gets a `gap`. Default: 0. */
  readonly forgotten?: number;
}

export interface KeptInMemory {
  readonly keeping: Keeping;
  /** Resolves when all sessions are there again, though not attached to their kernels yet. `cut` breaks the connections. */
  restart(
    supervisor: Supervisor,
    cut: () => void,
    options: RestartOptions,
  ): Promise<void>;
  attach(): void;
}

export function keptInMemory(provisioner: Provisioner): KeptInMemory {
  const keeper = new MockKeeper(provisioner);
  const stores = new Map<string, MemoryStore>();
  return {
    keeping: {
      server_id: crypto.randomUUID(),
      provisioner: keeper,
      create(session_id) {
        const store = MemoryStore.new();
        stores.set(session_id, store);
        return store;
      },
    },
    attach: () => keeper.attach(),
    async restart(
      supervisor,
      cut,
      { attach = true, kernels = "running", lost = 0, forgotten = 0 },
    ) {
      keeper.detach();
      cut();
      const before = supervisor.sessions;
      for (const session of before) {
        const { id, journal } = session;
        const store = stores.get(id)?.next(journal, forgotten);
        const { saved } = store ?? {};
        if (store === undefined || saved === undefined) continue;
        stores.set(id, store);
        supervisor.restore(saved, store);
      }
      if (kernels === "gone") await keeper.end();
      keeper.lose(lost);
      await Promise.all(
        before.map(async (session) => {
          if (session.isKept) return session.letGo(SERVER_LETS_GO);
          if (session.isRunning) await session.shutDown();
          await supervisor.delete(session.id);
        }),
      );
      if (attach) keeper.attach();
    },
  };
}
