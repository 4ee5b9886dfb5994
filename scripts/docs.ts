/**
 * Writes the parts of docs/ that are data of the program: docs/errors.md from
 * the contract, the diagram in docs/sessions.md from the lifecycle table, and the
 * table of Kernel Gateway's options in docs/jupyter.md.
 * Then checks that every link and every file that the pages name exists.
 *
 *     tsx scripts/docs.ts            writes them
 *     tsx scripts/docs.ts --check    fails if they differ from the program
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { format } from "prettier";
import { errors } from "../contract/errors.ts";
import { explanations } from "../contract/explanations.ts";
import { contract } from "../contract/index.ts";
import { type Operation, statusOf } from "../contract/operation.ts";
import { isReason, type Reason } from "../contract/reasons.ts";
import { SessionStatus } from "../contract/status.ts";
import {
  flagOf,
  gatewayOptions,
  variableOf,
} from "../src/command/gateway-options.ts";
import { transitions } from "../src/session/lifecycle.ts";

const ERRORS = "docs/errors.md";
const SESSIONS = "docs/sessions.md";
const JUPYTER = "docs/jupyter.md";

const isCheck = process.argv.includes("--check");
await write(ERRORS, errorsPage());
await write(SESSIONS, withDiagram(await readFile(SESSIONS, "utf8")));
await write(JUPYTER, withGatewayOptions(await readFile(JUPYTER, "utf8")));
const pages = [
  ...["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md"],
  ...readdirSync("docs").map((name) => `docs/${name}`),
].filter((path) => path.endsWith(".md"));
for (const page of pages) {
  for (const target of missing(page)) {
    console.error(`${page} names ${target}, which does not exist`);
    process.exitCode = 1;
  }
}

async function write(path: string, markdown: string): Promise<void> {
  const text = await format(markdown, { parser: "markdown" });
  if (!isCheck) return writeFile(path, text);
  if ((await readFile(path, "utf8").catch(() => "")) === text) return;
  console.error(`${path} differs from the program: npm run docs`);
  process.exitCode = 1;
}

function errorsPage(): string {
  const reasons = Object.keys(errors).filter(isReason);
  const rows = reasons.map((reason) => {
    const { code, status } = errors[reason];
    return `| [\`${reason}\`](#${reason}) | ${code} | ${status} |`;
  });
  return `# Errors

<!-- Written by \`npm run docs\` from contract/errors.ts, contract/reasons.ts and contract/explanations.ts. -->

After reading this page you can handle each failure that the server answers: you know its reason, its code, its HTTP
status, what it means and what to do.

Over REST a failure is a JSON object with \`code\`, \`message\` and \`reason\`, sometimes with \`details\`. Over tRPC
the same object is \`data.failure\` of the error. \`kallichore/client\` throws a \`SupervisorError\`. Switch on \`reason\`,
and show \`message\` to people. A reason and its code keep their meaning in later versions.

A start or a restart that fails answers its own failures with status 500 (not found stays 404), and its body is
\`{ "error": …, "exit_code": …, "output": … }\`: the failure, how the process ended, and what it printed. Kallichore's
clients expect that.

| reason | code | status |
| --- | --- | --- |
${rows.join("\n")}

${reasons.map(section).join("\n\n")}
`;
}

function section(reason: Reason): string {
  const { code, status, message } = errors[reason];
  const { means, todo } = explanations[reason];
  const placeholders = new Proxy({}, { get: (_, name) => `<${String(name)}>` });
  const sentence = (message as (details: object) => string)(placeholders);
  const from = operations(reason);
  return `## ${reason}

Code \`${code}\`, status ${status}${from === "" ? "" : `. Operations: ${from}`}.

> ${sentence.replaceAll("<", "\\<")}

**Means:** ${means}

**To do:** ${todo}`;
}

/** The operations that promise `reason`, with the status if it is another one there. */
function operations(reason: Reason): string {
  const { status } = errors[reason];
  const named = Object.entries(contract).flatMap(([group, members]) =>
    Object.entries<Operation>(members)
      .filter(([, { errors: promised = [] }]) => promised.includes(reason))
      .map(([name, operation]) => {
        const own = statusOf(operation, reason);
        return `\`${group}.${name}\`${own === status ? "" : ` (${own})`}`;
      }),
  );
  return named.join(", ");
}

function withDiagram(page: string): string {
  return between("lifecycle", page, diagram());
}

function withGatewayOptions(page: string): string {
  /** The names by what they have in common, which is the rest of their row. */
  const rows = new Map<string, string[]>();
  for (const option of gatewayOptions) {
    const names = [flagOf(option), variableOf(option)];
    const rest = `${effectOf(option)} | ${option.instead ?? ""}`;
    const row = rows.get(rest) ?? [];
    rows.set(rest, row);
    row.push(...names.filter((name) => name !== undefined));
  }
  const lines = [...rows].map(
    ([rest, names]) =>
      `| ${names.map((name) => `\`${name}\``).join(", ")} | ${rest} |`,
  );
  const head =
    "| option | option here, or accepted value | what to use instead |\n| --- | --- | --- |";
  return between("gateway-options", page, [head, ...lines].join("\n"));
}

/** What the server does with an option of Jupyter. */
function effectOf(option: (typeof gatewayOptions)[number]): string {
  const { to, accepted } = option;
  if (to !== undefined) return `\`${to}\``;
  if (accepted instanceof RegExp) return "no effect";
  if (accepted?.[0] !== undefined) return `only \`${accepted[0]}\``;
  return option.isVariableOnly === true ? "the variable" : "refused";
}

/** Writes text between `<!-- name -->` and `<!-- /name -->`. */
function between(name: string, page: string, text: string): string {
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const start = page.indexOf(open);
  const end = page.indexOf(close);
  if (start === -1 || end < start) {
    throw new Error(`A page lacks the markers ${open} and ${close}`);
  }
  return `${page.slice(0, start + open.length)}\n\n${text}\n\n${page.slice(end)}`;
}

function diagram(): string {
  const arrows = SessionStatus.options.flatMap((status) => {
    const labels = new Map<SessionStatus, string[]>();
    for (const [trigger, to] of transitions(status)) {
      labels.set(to, [...(labels.get(to) ?? []), trigger]);
    }
    return [...labels].map(
      ([to, triggers]) => `  ${status} --> ${to}: ${triggers.join(", ")}`,
    );
  });
  return [
    "```mermaid",
    "stateDiagram-v2",
    "  [*] --> uninitialized",
    ...arrows,
    "```",
  ].join("\n");
}

/** The broken links of a page, and the source files that it names and that do not exist. */
function missing(page: string): string[] {
  const text = readFileSync(page, "utf8");
  const links = [...text.matchAll(/\]\(([^()\s]+)\)/g)]
    .map(([, link = ""]) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [path = "", anchor] = link.split("#");
      const file = path === "" ? page : join(dirname(page), path);
      if (!existsSync(file)) return true;
      return anchor !== undefined && !anchorsOf(file).has(anchor);
    });
  const sources = [
    ...text.matchAll(
      /`((?:assembly|bench|client|contract|kernels|outputs|scripts|src|test|testing)\/[\w./-]+\.ts)`/g,
    ),
  ].map(([, path = ""]) => path);
  return [...links, ...sources.filter((path) => !existsSync(path))];
}

/** The anchors that GitHub makes from the headings of a page. */
function anchorsOf(page: string): Set<string> {
  const headings = readFileSync(page, "utf8").matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}
