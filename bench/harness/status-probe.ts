/** Another client: requests a server's status repeatedly, from its own process, and measures the longest wait. */
import { Agent, request } from "node:http";
import { Child, serveParent } from "./child.ts";
import { later } from "./process.ts";

type Order = { readonly ask: string } | { readonly longest: true };

const PAUSE_MS = 2;

export class StatusProbe extends Child<Order> {
  constructor() {
    super("status-probe.ts");
  }

  /** Starts a measurement, with the longest wait at 0. */
  async begin(url: string): Promise<void> {
    await this.request({ ask: url });
  }

  /** The longest wait since `begin`, in ms. A request without an answer yet counts. */
  async longest(): Promise<number> {
    return Number(await this.request({ longest: true }));
  }
}

const agent = new Agent({ keepAlive: true });
let address = "";
let longest = 0;
let since = performance.now();

serveParent(import.meta.url, async (order: Order) => {
  if ("longest" in order) return Math.max(longest, performance.now() - since);
  const isFirst = address === "";
  address = order.ask;
  await later(50);
  longest = 0;
  if (isFirst) void probe();
  return "begun";
});

async function probe(): Promise<void> {
  for (;;) {
    since = performance.now();
    await new Promise<void>((resolve) => {
      request(`${address}/status`, { agent }, (res) => {
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
