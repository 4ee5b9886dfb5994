/**
 * A reader in its own process, to be stopped or killed: it follows a session by
 * server-sent events and appends each number, with the kernel's count, to a
 * file. It begins after the last complete line of that file.
 *
 *     node reader-process.js URL TOKEN FILE
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { get } from "node:http";

const [url = "", token = "", file = ""] = process.argv.slice(2);
const COME_BACK_MS = 20;

let last = lastIn(file);
follow();

function follow(): void {
  const headers = {
    authorization: `Bearer ${token}`,
    "last-event-id": String(last),
  };
  const req = get(url, { agent: false, headers }, (res) => {
    let pending = "";
    res.setEncoding("utf8");
    res.on("error", () => {});
    res.on("data", (text: string) => {
      pending += text;
      const blocks = pending.split("\n\n");
      pending = blocks.pop() ?? "";
      const lines = blocks.flatMap((block) => {
        const data = /^data: (.*)$/m.exec(block)?.[1];
        if (data === undefined) return [];
        const { kind, seq, content } = JSON.parse(data) as {
          kind: string;
          seq: number;
          content?: { text?: string };
        };
        last = seq;
        return [`${seq} ${kind} ${content?.text?.split(":")[0] ?? ""}\n`];
      });
      if (lines.length > 0) appendFileSync(file, lines.join(""));
    });
  });
  req.on("error", () => {});
  req.on("close", () => setTimeout(follow, COME_BACK_MS));
}

function lastIn(path: string): number {
  if (!existsSync(path)) return 0;
  const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
  return Number(lines.at(-1)?.split(" ")[0] ?? 0);
}
