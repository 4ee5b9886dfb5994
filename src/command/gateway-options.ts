/**
 * The options of Jupyter Kernel Gateway, and how `kallichore serve` treats each.
 * One table: each name has the option that does the same here, or the reason why
 * there is none and what to use instead. docs/jupyter.md has the same table.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { CommandError } from "./exit.ts";

interface GatewayOption {
  readonly name: string;
  /** The class in Kernel Gateway's flags, if it is not the usual one. */
  readonly of?: string;
  /** The variable of the environment. Default: `KG_` and the name. `null`: none. */
  readonly variable?: string | null;
  /** The option that does the same. */
  readonly to?: string;
  /** The value for that option. Default: the same text. */
  readonly value?: (text: string) => string;
  /** The values that need no option, because the server always behaves so. */
  readonly isSo?: readonly string[];
  /** Its variable is understood, and its flag is refused. */
  readonly isVariableOnly?: boolean;
  /** What to use instead. */
  readonly instead?: string;
}

const PERSONALITY = "JupyterWebsocketPersonality";
const CULLING = "MappingKernelManager";
const CORS =
  "the answers to pages that --allow-origin allows have the headers that they need";
const TLS =
  "the server speaks plain HTTP: put a proxy that speaks TLS before it (docs/jupyter.md)";
const INHERITED =
  "kernels inherit the server's environment, without its secrets: start the server with the variables that kernels shall have";

export const gatewayOptions: readonly GatewayOption[] = [
  { name: "ip", to: "--host", value: (ip) => (ip === "" ? "0.0.0.0" : ip) },
  { name: "port", to: "--port" },
  { name: "port_retries", to: "--port-retries" },
  { name: "base_url", to: "--base-url" },
  { name: "allow_origin", to: "--allow-origin" },
  { name: "max_kernels", to: "--max-kernels" },
  { name: "default_kernel_name", to: "--default-kernel" },
  {
    name: "cull_idle_timeout",
    of: CULLING,
    variable: null,
    to: "--cull-idle-timeout",
  },
  {
    name: "cull_connected",
    of: CULLING,
    variable: null,
    to: "--cull-connected",
    value: flag,
  },
  {
    name: "cull_busy",
    of: CULLING,
    variable: null,
    to: "--cull-busy",
    value: flag,
  },
  {
    name: "api",
    isSo: ["kernel_gateway.jupyter_websocket", "jupyter-websocket"],
    instead: "notebooks as HTTP APIs are not served",
  },
  {
    name: "list_kernels",
    of: PERSONALITY,
    isSo: ["true", "1", "yes"],
    instead:
      "a client with the token may list kernels; a program that embeds the server can take the scope `observe` from it (docs/access.md)",
  },
  {
    name: "auth_token",
    isVariableOnly: true,
    instead: "KG_AUTH_TOKEN, or --token FILE",
  },
  {
    name: "prespawn_count",
    instead: "--prespawn KERNELSPEC=COUNT, such as python3=2",
  },
  {
    name: "force_kernel_name",
    instead:
      "--default-kernel, and --kernelspec-dir with the one kernelspec that clients may use",
  },
  { name: "env_process_whitelist", of: PERSONALITY, instead: INHERITED },
  { name: "allowed_envs", of: PERSONALITY, instead: INHERITED },
  {
    name: "env_whitelist",
    of: PERSONALITY,
    instead: "clients may set every variable of their kernels",
  },
  {
    name: "client_envs",
    of: PERSONALITY,
    instead: "clients may set every variable of their kernels",
  },
  {
    name: "seed_uri",
    instead:
      "let clients run the code, or put it into a startup file of IPython",
  },
  {
    name: "allow_credentials",
    instead: "clients of other origins send the token",
  },
  { name: "allow_headers", instead: CORS },
  { name: "allow_methods", instead: CORS },
  { name: "expose_headers", instead: CORS },
  { name: "max_age", instead: CORS },
  {
    name: "trust_xheaders",
    instead: "nothing here depends on X-Forwarded headers: leave it out",
  },
  {
    name: "ws_ping_interval",
    instead: "the server pings every 10 s: leave it out",
  },
  { name: "certfile", instead: TLS },
  { name: "keyfile", instead: TLS },
  { name: "client_ca", instead: TLS },
  { name: "ssl_version", instead: TLS },
];

/** Accepts these options and their variables. They are not in the help text. */
export function addGatewayOptions(command: Command): Command {
  for (const option of gatewayOptions) {
    const hidden = new Option(`${flagOf(option)} <value>`).hideHelp();
    const variable = variableOf(option);
    command.addOption(variable === undefined ? hidden : hidden.env(variable));
  }
  return command;
}

/**
 * Sets the server's own options that they stand for, unless those were given
 * themselves. Throws `usage` for an option that has no meaning here.
 */
export function applyGatewayOptions(command: Command): void {
  for (const option of gatewayOptions) {
    const attribute = attributeOf(option);
    const text = command.getOptionValue(attribute) as string | undefined;
    if (text === undefined) continue;
    const isFlag = command.getOptionValueSource(attribute) === "cli";
    const given = isFlag ? flagOf(option) : (variableOf(option) ?? "");
    if (option.isVariableOnly === true && !isFlag) continue;
    if (option.isSo?.includes(text.toLowerCase()) === true) continue;
    if (option.to === undefined) {
      throw new CommandError("usage", `${given} has no meaning here`, {
        hint: `Instead: ${option.instead}.`,
      });
    }
    set(command, option.to, option.value?.(text) ?? text, given);
  }
}

/** The variable with the token itself. Kernels do not inherit it. */
export const GATEWAY_TOKEN = "KG_AUTH_TOKEN";

function set(command: Command, to: string, text: string, given: string): void {
  const option = command.options.find(({ long }) => long === to);
  const attribute = option?.attributeName() ?? "";
  const source = command.getOptionValueSource(attribute);
  if (option === undefined || (source !== undefined && source !== "default")) {
    return;
  }
  if (option.isBoolean()) {
    command.setOptionValueWithSource(attribute, text === "true", "config");
    return;
  }
  try {
    const parse = option.parseArg ?? ((value: string) => value);
    const value: unknown = parse(text, option.defaultValue);
    command.setOptionValueWithSource(attribute, value, "config");
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new CommandError("usage", `${given} is not valid: ${error.message}`);
  }
}

/** Parses a boolean as Python writes it. */
function flag(text: string): string {
  return String(["true", "1", "yes"].includes(text.toLowerCase()));
}

export function flagOf({ name, of = "KernelGatewayApp" }: GatewayOption) {
  return `--${of}.${name}`;
}

export function variableOf({ name, variable }: GatewayOption) {
  return variable === null
    ? undefined
    : (variable ?? `KG_${name.toUpperCase()}`);
}

function attributeOf(option: GatewayOption): string {
  return new Option(`${flagOf(option)} <value>`).attributeName();
}
