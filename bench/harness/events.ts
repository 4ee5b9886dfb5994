/** Reads a session's journal to its end, as server-sent events. */
import { request } from "node:http";
import { lastPosition } from "./readers.ts";
import type { Session } from "./server.ts";

/** The number of lost entries: those that a reader from the beginning gets as gaps. */
export async function lostEntries(session: Session): Promise<number> {
  const { server, id } = session;
  const last = Number((await lastPosition(session)).split(":")[1]);
  const headers = { authorization: `Bearer ${server.token}` };
  const address = `${server.url}/sessions/${id}/events`;
  return new Promise((resolve, reject) => {
    const req = request(address, { headers, agent: false }, (res) => {
      let lost = 0;
      let rest = "";
      res.setEncoding("latin1");
      res.on("data", (chunk: string) => {
        const text = rest + chunk;
        const end = text.lastIndexOf("\n\n");
        rest = end < 0 ? text : text.slice(end + 2);
        const whole = end < 0 ? "" : text.slice(0, end + 2);
        for (const [, gap = ""] of whole.matchAll(GAP)) {
          const { from, to } = JSON.parse(gap) as { from: number; to: number };
          lost += to - from + 1;
        }
        const position = whole.lastIndexOf("\nid: ");
        if (position < 0 && !whole.startsWith("id: ")) return;
        const seq = whole.slice(
          position + 1,
          whole.indexOf("\n", position + 1),
        );
        if (Number(seq.split(":").at(-1)) < last) return;
        resolve(lost);
        req.destroy();
      });
      res.on("error", () => {}); // this client has closed the connection
    });
    req.on("error", reject);
    req.end();
  });
}

const GAP = /^data: (\{"kind":"gap".*\})$/gm;
