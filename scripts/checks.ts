/**
 * Writes down, as plain checks, what the contract says of what a client hands
 * out: a page need not load zod for it.
 *
 *     tsx scripts/checks.ts            writes them
 *     tsx scripts/checks.ts --check    fails unless they are what the contract says
 */
import { readFile, writeFile } from "node:fs/promises";
import { format } from "prettier";
import * as z from "zod";
import { contents } from "../contract/contents.ts";
import { SessionEvent } from "../contract/messages.ts";

const WRITTEN = "client/checks.ts";

const text = await format(module(), { parser: "typescript" });
if (!process.argv.includes("--check")) {
  await writeFile(WRITTEN, text);
} else if ((await readFile(WRITTEN, "utf8").catch(() => "")) !== text) {
  console.error(`${WRITTEN} is not what the contract says: npm run checks`);
  process.exitCode = 1;
}

function module(): string {
  const used = new Set<string>(["type Check"]);
  const written = (schema: z.core.$ZodType) => check(schema, used);
  const events = SessionEvent.options.flatMap((event) => {
    const { kind, ...shape } = event.shape;
    // By its kind it is found. Messages are looked at part by part.
    return kind.value === "jupyter"
      ? []
      : [`${kind.value}: ${written(z.object(shape))},`];
  });
  const messages = Object.entries(contents).map(
    ([type, content]) => `${type}: ${written(content)},`,
  );
  return `/** What the contract says of events and of messages' contents, as checks. Written by \`npm run checks\`. */
import type { MessageType, SessionEvent } from "../contract/index.ts";
import { ${[...used].toSorted().join(", ")} } from "./check.ts";

/** By \`kind\`. */
export const events: Readonly<Record<Exclude<SessionEvent["kind"], "jupyter">, Check>> = { ${events.join("\n")} };

/** By \`msg_type\`. */
export const contents: Readonly<Record<MessageType, Check>> = { ${messages.join("\n")} };
`;
}

/** The source of the check of a schema, whose words are noted in `used`. */
function check(schema: z.core.$ZodType, used: Set<string>): string {
  const word = (name: string, ...args: readonly string[]) => {
    used.add(name);
    return args.length === 0 ? name : `${name}(${args.join(", ")})`;
  };
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "string":
      return word("string", ...unchecked(def));
    case "boolean":
      return word("boolean");
    case "unknown":
      return word("anything");
    case "number":
      return number(schema as z.ZodNumber, word);
    case "enum":
      return word("oneOf", ...Object.values(def.entries).map(inJson));
    case "literal":
      return word("oneOf", ...def.values.map(inJson));
    case "nullable":
      return word("nullable", check(def.innerType, used));
    case "optional":
      return word("optional", check(def.innerType, used));
    case "default": // as it is sent: its type says that it is there
      return check(def.innerType, used);
    case "array":
      return word("list", check(def.element, used), ...unchecked(def));
    case "record":
      return word("map", check(def.valueType, used));
    case "object": {
      const members = Object.entries(def.shape).map(
        ([name, member]) => `${name}: ${check(member, used)}`,
      );
      return members.length === 0
        ? word("map", word("anything"))
        : word("members", `{ ${members.join(", ")} }`);
    }
    default:
      throw new Error(`There is no check yet for a ${def.type}`);
  }
}

function number(
  { minValue, maxValue, format }: z.ZodNumber,
  word: (name: string, ...args: readonly string[]) => string,
): string {
  if (format !== "safeint") throw new Error("There is no check for fractions");
  const isBounded =
    minValue !== Number.MIN_SAFE_INTEGER ||
    maxValue !== Number.MAX_SAFE_INTEGER;
  return isBounded
    ? word("within", String(minValue), String(maxValue))
    : word("int");
}

/** What is checked beyond the type is not written down, so there may be nothing. */
function unchecked({ checks = [] }: { checks?: readonly unknown[] }): [] {
  if (checks.length > 0) throw new Error("There is no check for its details");
  return [];
}

function inJson(value: unknown): string {
  return JSON.stringify(value);
}
