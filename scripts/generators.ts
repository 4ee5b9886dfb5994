/**
 * Generates clients from contract/openapi.json with common generators, compiles
 * them, and lets them create a session, run code and read outputs on a real
 * server. It uses the tools that this machine has, and lists the clients that it
 * skipped. With names, it runs only those: `npm run generators -- go java`.
 *
 * The generators come from their registries, at the versions pinned in
 * generators/tools.ts, into node_modules/.cache. The generated code is in a
 * temporary folder; `--keep` does not remove it.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Client, clients } from "./generators/clients.ts";
import { Failed, Missing } from "./generators/tools.ts";
import { realServer } from "./real-server.ts";

const STEPS = ["generate", "compile", "run"] as const;

interface Outcome {
  readonly name: string;
  readonly steps: Readonly<Partial<Record<(typeof STEPS)[number], string>>>;
  readonly problem?: string;
}

const names = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const keeps = process.argv.includes("--keep");
const selected = clients.filter(
  ({ name }) => names.length === 0 || names.some((part) => name.includes(part)),
);

const folder = mkdtempSync(join(tmpdir(), "kallichore-clients-"));
const document = join(folder, "openapi.json");
cpSync(
  fileURLToPath(new URL("../contract/openapi.json", import.meta.url)),
  document,
);

const outcomes: Outcome[] = [];
{
  await using server = await realServer();
  const env = {
    KALLICHORE_URL: server.url,
    KALLICHORE_TOKEN: server.token,
    KALLICHORE_KERNEL: server.kernel ?? "",
  };
  for (const client of selected) outcomes.push(await tryOut(client, env));
}
if (keeps) console.log(`\nThe generated clients are in ${folder}`);
else rmSync(folder, { recursive: true, force: true });

console.log();
for (const { name, steps, problem } of outcomes) {
  const summary = STEPS.map((step) => `${step}: ${steps[step] ?? "-"}`).join(
    "  ",
  );
  console.log(`${name.padEnd(36)}${summary}`);
  if (problem !== undefined) console.log(`  ${problem}`);
}
const failed = outcomes.filter(({ steps }) =>
  Object.values(steps).includes("failed"),
);
if (failed.length > 0) process.exitCode = 1;

async function tryOut(
  client: Client,
  env: Readonly<Record<string, string>>,
): Promise<Outcome> {
  const { name } = client;
  const home = join(folder, name);
  mkdirSync(home);
  const steps: Record<string, string> = {};
  console.log(`\n== ${name}`);
  for (const step of STEPS) {
    const runStep = client[step];
    if (runStep === undefined) continue;
    if (step === "run" && env["KALLICHORE_KERNEL"] === "") {
      steps[step] = "skipped";
      return { name, steps, problem: "no Python kernel is installed" };
    }
    try {
      const printed = await runStep({ document, home, env });
      if (step === "run" && printed.trim().split("\n").at(-1) !== "2") {
        throw new Failed(`it printed ${printed}, not the result of 1+1`);
      }
      steps[step] = "ok";
    } catch (error) {
      if (!(error instanceof Missing || error instanceof Failed)) throw error;
      steps[step] = error instanceof Missing ? "skipped" : "failed";
      console.log(error.message);
      const [problem = ""] = error.message.split("\n");
      return { name, steps, problem };
    }
  }
  return { name, steps };
}
