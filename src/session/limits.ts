/** What a session's kernel may use at most: the server's limits, or lower ones that its client asks for. */
import {
  failure,
  type LimitsRequest,
  type SessionLimits,
} from "../../contract/index.ts";
import type { LimitsChange } from "../kernel/kernel.ts";

/** Throws `bad_configuration` if more than `most` is requested. */
export function limitsOf(
  requested: LimitsRequest | null | undefined,
  most: SessionLimits,
): SessionLimits {
  return {
    memory_bytes: limitOf("memory_bytes", requested, most),
    cpus: limitOf("cpus", requested, most),
    run_time_s: limitOf("run_time_s", requested, most),
  };
}

function limitOf(
  name: keyof SessionLimits,
  requested: LimitsRequest | null | undefined,
  { [name]: highest }: SessionLimits,
): number | null {
  const wanted = requested?.[name] ?? highest;
  if (wanted === null || highest === null || wanted <= highest) return wanted;
  const why = `\`limits.${name}\` is ${wanted}, and this server allows at most ${highest}`;
  throw failure("bad_configuration", { why });
}

/** The fields that are given, with the server's limit in place of `null`. Throws `bad_configuration` if one is more than `most`. */
export function changeOf(
  requested: LimitsRequest,
  most: SessionLimits,
): LimitsChange {
  const names = Object.keys(most) as (keyof SessionLimits)[];
  const given = names.filter((name) => requested[name] !== undefined);
  return Object.fromEntries(
    given.map((name) => [name, limitOf(name, requested, most)]),
  );
}
