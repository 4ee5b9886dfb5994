import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { filterAt } from "../../src/log/filter.ts";
import { LogBook } from "../../src/log/log.ts";
import { temporaryFolder } from "../harness.ts";

async function written(say: (book: LogBook) => void): Promise<string[]> {
  const file = join(temporaryFolder(), "log");
  const book = new LogBook({ file, filter: filterAt("info"), onStderr: true });
  say(book);
  await book[Symbol.asyncDispose]();
  return readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.slice("HH:MM:SS ".length))
    .filter((line) => line !== "");
}

test("a child's lines hold what it was made with, and its children's too", async () => {
  const lines = await written(({ log }) => {
    const session = log.child({ session: "py-1" });
    session.info("Begun");
    session.child({ channel: "shell" }).warn({ n: 1 }, "Late");
    log.error("Alone");
  });
  expect(lines).toEqual([
    "[INFO] [session py-1] Begun",
    "[WARN] [session py-1] Late channel=shell n=1",
    "[ERROR] Alone",
  ]);
});

test("a filter that is exchanged holds for loggers that were made before", async () => {
  const lines = await written((book) => {
    const child = book.log.child({ session: "py-1" });
    child.debug("not heard");
    book.filter = filterAt("debug");
    child.debug("heard");
    book.filter = filterAt("error");
    child.warn("not heard");
  });
  expect(lines).toEqual([
    "[DEBUG] (1) kcserver::session: [session py-1] heard",
  ]);
});
