import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, test } from "vitest";
import { WebSocket } from "ws";

(globalThis as { WebSocket?: unknown }).WebSocket ??= WebSocket;

const root = fileURLToPath(new URL("../../", import.meta.url));
const text = readFileSync(join(root, "docs/testing.md"), "utf8");
const folder = mkdtempSync(join(root, "test/testing/.docs-")); // a folder from which the imports of the blocks are found
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Block {
  readonly heading: string;
  readonly word: string;
  readonly code: string;
}

function blocksIn(page: string): Block[] {
  return page.split(/^## /m).flatMap((section) => {
    const heading = section.split("\n", 1)[0] ?? "";
    return [...section.matchAll(/^```ts *(.*)\n([^]*?)^```$/gm)].map(
      ([, word = "", code = ""]) => ({ heading, word, code }),
    );
  });
}

/** The block as a module that imports the sources in place of the package. */
function written({ code }: Block, file: string): string {
  const path = join(folder, file);
  const module = code.replace(
    /from "kallichore\/(testing|client)(?:\/(\w+))?"/g,
    (_, room: string, entry = "index") =>
      `from "${root}${room}/${String(entry)}.ts"`,
  );
  writeFileSync(path, module);
  return path;
}

const blocks = blocksIn(text);
const files = blocks.filter(({ word }) => word.startsWith("file="));
const programs = blocks.filter(({ word }) => word === "");

for (const file of files) written(file, file.word.slice("file=".length));

test.each(
  programs.map((block, index) => [index + 1, block.heading, block] as const),
)("block %i runs as it is written: %s", async (index, _, block) => {
  await import(/* @vite-ignore */ written(block, `block-${index}.ts`));
});
