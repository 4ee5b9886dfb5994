/** What the command line of the benches says. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

export interface Options {
  readonly questions: readonly string[];
  /** Alternations that count; one more warms up. */
  readonly rounds: number;
  /** Checkouts whose built server is measured. */
  readonly ours: readonly Checkout[];
  /** Another program with the command line and the addresses of `kcserver`. */
  readonly kcserver: string | undefined;
  /** A Python with Jupyter Server, and one with ipykernel. */
  readonly jupyter: string | undefined;
  readonly ipykernel: string | undefined;
  /** Parts of the names of the candidates and cases that are wanted; all where empty. */
  readonly only: readonly string[];
  readonly cases: readonly string[];
  /** Factor on how many messages are sent, for a quick look. */
  readonly scale: number;
  readonly json: string | undefined;
}

export interface Checkout {
  readonly name: string;
  readonly folder: string;
  /** The folder for CPU profiles of its servers. */
  readonly profiles: string | undefined;
}

export const usage = `npm run bench -- [QUESTION…] [options]

  --rounds N             alternations, default: 10
  --ours [NAME=]DIR      a checkout with a built server; may be given again. Default: this one
  --kcserver PATH        another kcserver, beside ours
  --jupyter PYTHON       a Python with Jupyter Server, beside ours
  --ipykernel PYTHON     a Python with ipykernel, for the questions that ask it
  --only PART[,PART…]    candidates whose name has one of these parts
  --cases PART[,PART…]   cases whose name has one of these parts
  --scale X              send X times as many messages, default: 1
  --json FILE            write the samples there as well
  --profile DIR          write a CPU profile of each of our servers there; figures get higher`;

export function optionsOf(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "10" },
      ours: { type: "string", multiple: true, default: [] },
      kcserver: { type: "string" },
      jupyter: { type: "string" },
      ipykernel: { type: "string" },
      only: { type: "string", default: "" },
      cases: { type: "string", default: "" },
      scale: { type: "string", default: "1" },
      json: { type: "string" },
      profile: { type: "string" },
    },
  });
  const here = fileURLToPath(new URL("../..", import.meta.url));
  const ours = values.ours.length > 0 ? values.ours : [here];
  return {
    questions: positionals,
    rounds: Number(values.rounds),
    ours: ours.map((value, index) => ({
      ...checkoutOf(value, index),
      profiles:
        values.profile === undefined ? undefined : resolve(values.profile),
    })),
    kcserver: values.kcserver,
    jupyter: values.jupyter,
    ipykernel: values.ipykernel,
    only: partsOf(values.only),
    cases: partsOf(values.cases),
    scale: Number(values.scale),
    json: values.json,
  };
}

function checkoutOf(value: string, index: number): Omit<Checkout, "profiles"> {
  const [name, folder] = value.includes("=")
    ? (value.split("=", 2) as [string, string])
    : [index === 0 ? "ours" : `ours ${index + 1}`, value];
  return { name, folder: resolve(folder) };
}

function partsOf(list: string): string[] {
  return list.split(",").filter((part) => part !== "");
}
