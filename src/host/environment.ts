/**
 * The variables that a kernel starts with.
 *
 * They are built in one order, each step seeing the result of those before it:
 * what we inherited (without what is ours alone), the request's actions, the
 * kernelspec's `env`. Nothing here reads `process.env`: the base is given.
 */
import type { VarAction } from "../../contract/sessions.ts";
import { filled } from "./template.ts";

export type Variables = Readonly<Record<string, string>>;

export interface EnvironmentOptions {
  /** What the kernel inherits; usually `process.env`. */
  readonly base: Readonly<Record<string, string | undefined>>;
  /** The request's, in order. */
  readonly actions?: readonly VarAction[];
  /** The kernelspec's `env`: `$VAR` and `${VAR}` are looked up in what stands so far. */
  readonly specEnv?: Variables | undefined;
  /** Values for `{name}` in the kernelspec's `env`, the same as for its argv. */
  readonly values?: Variables;
  readonly language?: string;
  readonly platform?: NodeJS.Platform;
}

/** On Windows all names come out in upper case. */
export function kernelEnvironment({
  base,
  actions = [],
  specEnv = {},
  values = {},
  language = "",
  platform = process.platform,
}: EnvironmentOptions): Record<string, string> {
  const spelled = (name: string) =>
    platform === "win32" ? name.toUpperCase() : name;

  const variables = new Map<string, string>();
  for (const [name, value] of Object.entries(base)) {
    if (value === undefined || OURS_ALONE.test(name)) continue;
    if (ANOTHERS.test(name)) continue;
    variables.set(spelled(name), value);
  }
  for (const { action, name, value } of actions) {
    const old = variables.get(spelled(name)) ?? "";
    variables.set(spelled(name), acted[action](old, value));
  }
  // Looked up in what stood before: the entries of one `env` do not see each other.
  const before = new Map(variables);
  for (const [name, text] of Object.entries(specEnv)) {
    variables.set(
      spelled(name),
      filled(text, {
        variable: (wanted) => before.get(spelled(wanted)),
        placeholder: (wanted) =>
          Object.hasOwn(values, wanted) ? values[wanted] : undefined,
      }),
    );
  }
  // Set by Python's launcher on macOS for itself; another Python that inherits it takes the wrong prefix.
  if (/^python/i.test(language)) variables.delete("PYTHONEXECUTABLE");
  return Object.fromEntries(variables);
}

/** A variable's value; on Windows whatever the case of its name. */
export function variable(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  platform: NodeJS.Platform = process.platform,
): string | undefined {
  const value = env[name];
  if (value !== undefined || platform !== "win32") return value;
  const spelled = name.toUpperCase();
  const other = Object.keys(env).find((key) => key.toUpperCase() === spelled);
  return other === undefined ? undefined : env[other];
}

/** Credentials of this server: whoever has one could start programs as us. */
const OURS_ALONE = /^KALLICHORE_\w*(TOKEN|KEY|SECRET|PASSWORD)/i;

/** Of the kernel that we were started in, if any: a process and handles that mean nothing to ours. */
const ANOTHERS = /^(JPY_PARENT_PID|[IJ]PY_INTERRUPT_EVENT)$/i;

/** Kallichore's rule: no separator of its own. */
const acted: Record<
  VarAction["action"],
  (old: string, value: string) => string
> = {
  replace: (_old, value) => value,
  append: (old, value) => old + value,
  prepend: (old, value) => value + old,
};
