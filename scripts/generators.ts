/**
 * Generates clients from contract/openapi.json with the generators that people
 * use, compiles them, and lets them make a session, run code and read outputs
 * on a real server. It uses the tools that this machine has and says what it
 * left out. With names, only those: `npm run generators -- go java`.
 *
 * The generators themselves come from their registries, at the versions pinned
 * in generators/tools.ts, into node_modules/.cache. Generated code goes to a
 * temporary folder; `--keep` leaves it there.
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
const asked = clients.filter(
  ({ name }) =>
    names.length === 0 || names.some((wanted) => name.includes(wanted)),
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
  for (const client of asked) outcomes.push(await tried(client, env));
}
if (keeps) console.log(`\nThe generated clients are in ${folder}`);
else rmSync(folder, { recursive: true, force: true });

console.log();
for (const { name, steps, problem } of outcomes) {
  const told = STEPS.map((step) => `${step}: ${steps[step] ?? "-"}`).join("  ");
  console.log(`${name.padEnd(36)}${told}`);
  if (problem !== undefined) console.log(`  ${problem}`);
}
const failed = outcomes.filter(({ steps }) =>
  Object.values(steps).includes("failed"),
);
if (failed.length > 0) process.exitCode = 1;

async function tried(
  client: Client,
  env: Readonly<Record<string, string>>,
): Promise<Outcome> {
  const { name } = client;
  const home = join(folder, name);
  mkdirSync(home);
  const steps: Record<string, string> = {};
  console.log(`\n== ${name}`);
  for (const step of STEPS) {
    const take = client[step];
    if (take === undefined) continue;
    if (step === "run" && env["KALLICHORE_KERNEL"] === "") {
      steps[step] = "skipped";
      return { name, steps, problem: "there is no Python kernel here" };
    }
    try {
      const said = await take({ document, home, env });
      if (step === "run" && said.trim().split("\n").at(-1) !== "2") {
        throw new Failed(`it printed ${said}, not the result of 1+1`);
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
