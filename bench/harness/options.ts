/** The command line of the benches. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

export interface Options {
  readonly questions: readonly string[];
  /** Measured rounds; one more round warms up. */
  readonly rounds: number;
  /** The checkouts whose built servers are measured. */
  readonly ours: readonly Checkout[];
  /** The path of another program with the command line and the addresses of `kcserver`. */
  readonly kcserver: string | undefined;
  /** The paths of a Python with Jupyter Server, and of one with ipykernel. */
  readonly jupyter: string | undefined;
  readonly ipykernel: string | undefined;
  /** Parts of the names of candidates and cases to run; empty: all. */
  readonly only: readonly string[];
  readonly cases: readonly string[];
  /** A factor for the number of messages, for a quick run. */
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

  --rounds N             measured rounds [default: 10]
  --ours [NAME=]DIR      checkout with a built server; repeatable [default: this one]
  --kcserver PATH        another kcserver to compare with
  --jupyter PYTHON       Python with Jupyter Server to compare with
  --ipykernel PYTHON     Python with ipykernel, for the questions that use it
  --only PART[,PART…]    run only candidates whose name contains one of these parts
  --cases PART[,PART…]   run only cases whose name contains one of these parts
  --scale X              send X times as many messages [default: 1]
  --json FILE            also write all samples to this file
  --profile DIR          write a CPU profile of each of our servers to this folder; the figures rise`;

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
