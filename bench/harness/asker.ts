/** Somebody else: asks a server for its status over and over, from a process of its own, and remembers the longest wait. */
import { Agent, request } from "node:http";
import { Child, obey } from "./child.ts";
import { later } from "./process.ts";

type Order = { readonly ask: string } | { readonly longest: true };

const PAUSE_MS = 2;

export class Asker extends Child<Order> {
  constructor() {
    super("asker.ts");
  }

  /** Begins, or begins anew. */
  async begin(url: string): Promise<void> {
    await this.ask({ ask: url });
  }

  /** In ms, since it began; a wait that goes on counts. */
  async longest(): Promise<number> {
    return Number(await this.ask({ longest: true }));
  }
}

const agent = new Agent({ keepAlive: true });
let asked = "";
let longest = 0;
let since = performance.now();

obey(import.meta.url, async (order: Order) => {
  if ("longest" in order) return Math.max(longest, performance.now() - since);
  const isFirst = asked === "";
  asked = order.ask;
  await later(50);
  longest = 0;
  if (isFirst) void askOn();
  return "begun";
});

async function askOn(): Promise<void> {
  for (;;) {
    since = performance.now();
    await new Promise<void>((resolve) => {
      request(`${asked}/status`, { agent }, (res) => {
        res.resume();
        res.on("end", resolve);
      })
        .on("error", () => resolve())
        .end();
    });
    longest = Math.max(longest, performance.now() - since);
    await later(PAUSE_MS);
  }
}
