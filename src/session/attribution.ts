/** Reads the `attribution` in the metadata of a request: it names the person or program that requested the execution. */
import type { Attribution } from "../../contract/index.ts";
import { membersOf } from "../jupyter/json-members.ts";
import type { Message } from "../jupyter/message.ts";

/** A larger attribution is not read. */
const LIMIT = 64 * 1024; // bytes

/** Its members that are text; `undefined` if there is no attribution, or it is not an object. */
export function attributionOf({
  raw: { metadata },
}: Message): Partial<Record<keyof Attribution, string>> | undefined {
  try {
    const { buffer, byteOffset, byteLength } = metadata;
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    const json = membersOf(bytes).get("attribution");
    if (json === undefined || json.length > LIMIT) return undefined;
    const value: unknown = JSON.parse(json.toString());
    if (typeof value !== "object" || value === null) return undefined;
    return Object.fromEntries(
      Object.entries(value).filter(([, text]) => typeof text === "string"),
    );
  } catch {
    return undefined; // not JSON
  }
}
