/** The examples in docs/client.md compile, and run against a real server and a real Python. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import ts from "typescript";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Client, Session } from "../../client/index.ts";
import { clientOf, open, urlOf } from "./harness.ts";
import { needsIpykernel } from "../needs.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const page = await readFile(join(root, "docs/client.md"), "utf8");

interface Example {
  readonly title: string;
  readonly code: string;
  readonly runs: boolean;
}

const examples = [...examplesIn(page)];

let folder: string;
let module: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "client-docs-"));
  module = join(folder, "examples.mts");
  await writeFile(module, moduleOf(examples));
});
afterAll(() => rm(folder, { recursive: true }));

it("the examples compile", { timeout: 60_000 }, () => {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), (path) =>
    ts.sys.readFile(path),
  ) as { config: object };
  const { options } = ts.parseJsonConfigFileContent(
    { ...config, include: [], files: [module] },
    ts.sys,
    root,
  );
  const program = ts.createProgram([module], {
    ...options,
    typeRoots: [join(root, "node_modules/@types")],
    noUnusedLocals: false,
    noUnusedParameters: false,
  });
  const problems = ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) =>
      ts.flattenDiagnosticMessageText(messageText, "\n"),
    );
  expect(problems).toEqual([]);
});

it("the examples run", { ...needsIpykernel, timeout: 120_000 }, async () => {
  await using opened = await open();
  await using client = await clientOf(opened.server);
  await using session = await client.start("python3");
  const url = urlOf(opened.server);
  const { token } = opened.server;
  const { run } = (await import(pathToFileURL(module).href)) as {
    run: Record<
      string,
      (given: {
        client: Client;
        session: Session;
        url: string;
        token: string | undefined;
      }) => Promise<readonly unknown[][]>
    >;
  };
  for (const [at, { title, code, runs }] of examples.entries()) {
    if (!runs) continue;
    const logged = await run[`example${at}`]?.({
      client,
      session,
      url,
      token,
    });
    for (const [line, promised] of promisesIn(code).entries()) {
      const printed = logged?.map((words) => words.map(shown).join(" ")) ?? [];
      expect.soft(printed, `${title}, comment ${line + 1}`).toContain(promised);
    }
  }
});

function* examplesIn(text: string): Generator<Example> {
  let title = "";
  for (const [, heading, flags, code] of text.matchAll(
    /^#+ (.+)$|^```ts( no-run)?\n([^]*?)^```$/gm,
  )) {
    if (heading !== undefined) title = heading;
    if (code !== undefined) yield { title, code, runs: flags === undefined };
  }
}

/** A module with one function for each example. The function gets the variables that the page assumes. */
function moduleOf(all: readonly Example[]): string {
  const client = JSON.stringify(join(root, "client/index.ts"));
  const imports = new Set<string>();
  const functions = all.map(({ code }, at) => {
    const body = code.replace(
      /^import \{ (.+) \} from "kallichore\/client";$/gm,
      (_, names: string) => {
        for (const name of names.split(", ")) imports.add(name);
        return "";
      },
    );
    return `async example${at}({ client, session, url, token }: Given) {
  const logged: unknown[][] = [];
  const console = { log: (...words: unknown[]) => void logged.push(words) };
  const process = { stdout: { write: (_: string) => {} } };
  {
${body}
  }
  return logged;
}`;
  });
  return `import { ${[...imports].join(", ")} } from ${client};
import type { Client, Session } from ${client};
interface Given { client: Client; session: Session; url: string; token: string | undefined }
export const run = {
${functions.join(",\n")}
};
`;
}

/** The output that the comment after a `console.log` promises, if the comment is only that output. */
function promisesIn(code: string): string[] {
  return [...code.matchAll(/console\.log\(.*\); \/\/ ([^:;\n]+)/g)]
    .map(([, comment = ""]) => comment)
    .filter((comment) => !/[ ,]/.test(comment))
    .map((comment) => comment.replace(/^"|"$/g, ""));
}

function shown(word: unknown): string {
  return typeof word === "string" ? word : JSON.stringify(word);
}
