/**
 * The environment variables that a kernel starts with.
 *
 * They are built in three steps, each on the result of the previous one: the
 * inherited variables (without this server's credentials), the request's
 * actions, the kernelspec's `env`. The inherited variables are an argument:
 * this module never reads `process.env`.
 */
import type { VarAction } from "../../contract/sessions.ts";
import { fillIn } from "./template.ts";

export type Variables = Readonly<Record<string, string>>;

export interface EnvironmentOptions {
  /** The variables that the kernel inherits; usually `process.env`. */
  readonly base: Readonly<Record<string, string | undefined>>;
  /** The request's actions, in order. */
  readonly actions?: readonly VarAction[];
  /** The kernelspec's `env`. `$VAR` and `${VAR}` refer to the result of the previous steps. */
  readonly specEnv?: Variables | undefined;
  /** The values for `{name}` in the kernelspec's `env`, the same as for its argv. */
  readonly values?: Variables;
  readonly language?: string;
  readonly platform?: NodeJS.Platform;
}

/** On Windows the result has all names in upper case. */
export function kernelEnvironment({
  base,
  actions = [],
  specEnv = {},
  values = {},
  language = "",
  platform = process.platform,
}: EnvironmentOptions): Record<string, string> {
  const normalized = (name: string) =>
    platform === "win32" ? name.toUpperCase() : name;

  const variables = new Map<string, string>();
  for (const [name, value] of Object.entries(base)) {
    if (value === undefined || CREDENTIALS.test(name)) continue;
    if (PARENT_KERNEL.test(name)) continue;
    variables.set(normalized(name), value);
  }
  for (const { action, name, value } of actions) {
    const old = variables.get(normalized(name)) ?? "";
    variables.set(normalized(name), applyAction[action](old, value));
  }
  // References are resolved against the previous step: entries of one `env` cannot refer to each other.
  const before = new Map(variables);
  for (const [name, text] of Object.entries(specEnv)) {
    variables.set(
      normalized(name),
      fillIn(text, {
        variable: (reference) => before.get(normalized(reference)),
        placeholder: (reference) =>
          Object.hasOwn(values, reference) ? values[reference] : undefined,
      }),
    );
  }
  // Python's launcher on macOS sets this for itself. Another Python that inherits it uses the wrong prefix.
  if (/^python/i.test(language)) variables.delete("PYTHONEXECUTABLE");
  return Object.fromEntries(variables);
}

/** A variable's value. On Windows the case of the name is ignored. */
export function variable(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  platform: NodeJS.Platform = process.platform,
): string | undefined {
  const value = env[name];
  if (value !== undefined || platform !== "win32") return value;
  const upperCase = name.toUpperCase();
  const other = Object.keys(env).find((key) => key.toUpperCase() === upperCase);
  return other === undefined ? undefined : env[other];
}

/** Credentials of this server: a program that has one could start programs as this user. */
const CREDENTIALS =
  /^(KALLICHORE_\w*(TOKEN|KEY|SECRET|PASSWORD)|(KG|JUPYTER_GATEWAY)_AUTH_TOKEN$)/i;

/** Variables of the kernel in which this server was started, if any: its process and handles are wrong for other kernels. */
const PARENT_KERNEL = /^(JPY_PARENT_PID|[IJ]PY_INTERRUPT_EVENT)$/i;

/** As in Kallichore, no separator is added. */
const applyAction: Record<
  VarAction["action"],
  (old: string, value: string) => string
> = {
  replace: (_old, value) => value,
  append: (old, value) => old + value,
  prepend: (old, value) => value + old,
};
