/**
 * Generates client/checks.ts: the contract's schemas of events and of message
 * contents, as plain functions, so that a page need not load zod.
 *
 *     tsx scripts/checks.ts            writes the file
 *     tsx scripts/checks.ts --check    fails if the file differs from the contract
 */
import { readFile, writeFile } from "node:fs/promises";
import { format } from "prettier";
import * as z from "zod";
import { contents } from "../contract/contents.ts";
import { SessionEvent } from "../contract/messages.ts";

const OUTPUT = "client/checks.ts";

const text = await format(module(), { parser: "typescript" });
if (!process.argv.includes("--check")) {
  await writeFile(OUTPUT, text);
} else if ((await readFile(OUTPUT, "utf8").catch(() => "")) !== text) {
  console.error(`${OUTPUT} differs from the contract: npm run checks`);
  process.exitCode = 1;
}

function module(): string {
  const used = new Set<string>(["type Check"]);
  const sourceOf = (schema: z.core.$ZodType) => check(schema, used);
  const events = SessionEvent.options.flatMap((event) => {
    const { kind, ...shape } = event.shape;
    // The client finds the check by `kind`. It checks the members of a message separately.
    return kind.value === "jupyter"
      ? []
      : [`${kind.value}: ${sourceOf(z.object(shape))},`];
  });
  const messages = Object.entries(contents).map(
    ([type, content]) => `${type}: ${sourceOf(content)},`,
  );
  return `/** The contract's schemas of events and of message contents, as checks. Written by \`npm run checks\`. */
import type { MessageType, SessionEvent } from "../contract/index.ts";
import { ${[...used].toSorted().join(", ")} } from "./check.ts";

/** By \`kind\`. */
export const events: Readonly<Record<Exclude<SessionEvent["kind"], "jupyter">, Check>> = { ${events.join("\n")} };

/** By \`msg_type\`. */
export const contents: Readonly<Record<MessageType, Check>> = { ${messages.join("\n")} };
`;
}

/** The source of the check of a schema. The names that it uses are added to `used`. */
function check(schema: z.core.$ZodType, used: Set<string>): string {
  const use = (name: string, ...args: readonly string[]) => {
    used.add(name);
    return args.length === 0 ? name : `${name}(${args.join(", ")})`;
  };
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "string":
      return use("string", ...unchecked(def));
    case "boolean":
      return use("boolean");
    case "unknown":
      return use("anything");
    case "number":
      return number(schema as z.ZodNumber, use);
    case "enum":
      return use("oneOf", ...Object.values(def.entries).map(inJson));
    case "literal":
      return use("oneOf", ...def.values.map(inJson));
    case "nullable":
      return use("nullable", check(def.innerType, used));
    case "optional":
      return use("optional", check(def.innerType, used));
    case "default": // the server always sends it
      return check(def.innerType, used);
    case "array":
      return use("list", check(def.element, used), ...unchecked(def));
    case "record":
      return use("map", check(def.valueType, used));
    case "object": {
      const members = Object.entries(def.shape).map(
        ([name, member]) => `${name}: ${check(member, used)}`,
      );
      return members.length === 0
        ? use("map", use("anything"))
        : use("members", `{ ${members.join(", ")} }`);
    }
    default:
      throw new Error(`There is no check yet for a ${def.type}`);
  }
}

function number(
  { minValue, maxValue, format }: z.ZodNumber,
  use: (name: string, ...args: readonly string[]) => string,
): string {
  if (format !== "safeint")
    throw new Error("There is no check for numbers that are not integers");
  const isBounded =
    minValue !== Number.MIN_SAFE_INTEGER ||
    maxValue !== Number.MAX_SAFE_INTEGER;
  return isBounded
    ? use("within", String(minValue), String(maxValue))
    : use("int");
}

/** Throws if a schema has checks beyond its type: they cannot be generated. */
function unchecked({ checks = [] }: { checks?: readonly unknown[] }): [] {
  if (checks.length > 0)
    throw new Error("There is no check for the details of this schema");
  return [];
}

function inJson(value: unknown): string {
  return JSON.stringify(value);
}
