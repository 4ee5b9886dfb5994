/**
 * The options of Jupyter Kernel Gateway and of Jupyter Server, and how
 * `kallichore serve` treats each. One table: each name has the option that does
 * the same here, or the reason why there is none and what to use instead.
 * docs/jupyter.md has the same table. Of Jupyter Server's options it has those
 * that concern a server of kernels.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { CommandError } from "./exit.ts";

interface GatewayOption {
  readonly name: string;
  /** The class in the flags, if it is not the usual one. */
  readonly of?: keyof typeof CLASSES;
  /** The variable of the environment. Default: `KG_` and the name. `null`: none. */
  readonly variable?: string | null;
  /** The flag's short form. */
  readonly short?: string;
  /** The option that does the same. */
  readonly to?: string;
  /** The value for that option. Default: the same text. */
  readonly value?: (text: string) => string;
  /** The values that the server accepts, because it always behaves like this. */
  readonly accepted?: readonly string[] | RegExp;
  /** Its variable is understood, and its flag is refused. */
  readonly isVariableOnly?: boolean;
  /** What to use instead. */
  readonly instead?: string;
}

/** Jupyter's classes, with those that inherit their options and are named in flags just as often. */
const CLASSES = {
  KernelGatewayApp: [],
  JupyterWebsocketPersonality: [],
  NotebookHTTPPersonality: [],
  MappingKernelManager: [
    "AsyncMappingKernelManager",
    "SeedingMappingKernelManager",
    "RemoteMappingKernelManager",
  ],
  ServerApp: ["NotebookApp"],
  IdentityProvider: ["PasswordIdentityProvider"],
  ZMQChannelsWebsocketConnection: [],
  KernelSpecManager: [],
} as const;

const PERSONALITY = "JupyterWebsocketPersonality";
const HTTP = "NotebookHTTPPersonality";
const CULLING = "MappingKernelManager";
const SERVER = "ServerApp";
const CHANNELS = "ZMQChannelsWebsocketConnection";
const YES = ["true", "1", "yes"];
const NO = ["false", "0", "no"];
const CORS =
  "the answers to pages that --allow-origin allows have the headers that they need";
const TLS =
  "the server speaks plain HTTP: put a proxy that speaks TLS before it (docs/jupyter.md)";
const INHERITED =
  "kernels inherit the server's environment, without its secrets: start the server with the variables that kernels shall have";
const CLIENT_ENV = "clients may set every variable of their kernels";
const NOTEBOOK_API = "notebooks as HTTP APIs are not served";
const CREDENTIALS = "clients of other origins send the token";
const PROXY = "nothing here depends on X-Forwarded headers: leave it out";
const PINGS = "the server pings every 10 s: leave it out";
const TOKEN = "--token FILE, or KALLICHORE_TOKEN";
const PASSWORD = `there are no passwords: ${TOKEN}`;
const COOKIES = "--cookies; they are made from the token";
const FILES =
  "the server has no files: a client names its kernel's directory, or start the server in the directory";
const ONLY_KERNELSPECS =
  "--kernelspec-dir with the kernelspecs that clients may use";
const PYTHON_CLASS =
  "it is not written in Python: a program that embeds the server can replace its parts";
const NO_RATE = "no output is dropped because of its rate: leave it out";
const JOURNAL = "--journal-limit and --disk-limit: the output is always kept";
const OUTPUT_AS_IT_IS =
  "a kernel's messages are not changed: leave it out, or put a proxy before clients that may not see them";

/** The options of the culler, in Kernel Gateway as in Jupyter Server. */
const culling = { of: CULLING, variable: null } as const;
/** Jupyter Server's own. It reads no variables for them. */
const server = { of: SERVER, variable: null } as const;

export const gatewayOptions: readonly GatewayOption[] = [
  { name: "ip", short: "ip", to: "--host", value: everywhere },
  { name: "port", to: "--port" },
  { name: "port_retries", short: "port_retries", to: "--port-retries" },
  { name: "base_url", to: "--base-url" },
  { name: "allow_origin", to: "--allow-origin" },
  { name: "max_kernels", to: "--max-kernels" },
  { name: "default_kernel_name", to: "--default-kernel" },
  { name: "cull_idle_timeout", ...culling, to: "--cull-idle-timeout" },
  {
    name: "cull_connected",
    ...culling,
    to: "--cull-connected",
    value: flag,
  },
  { name: "cull_busy", ...culling, to: "--cull-busy", value: flag },
  {
    name: "cull_interval",
    ...culling,
    accepted: /^\d+$/, // it says how late a kernel may be shut down
    instead: "a kernel is shut down as soon as its time is over",
  },
  {
    name: "cull_busy_timeout",
    ...culling,
    instead:
      "--cull-busy, or a `deadline_ms` for the code that may take too long (docs/executions.md)",
  },
  {
    name: "api",
    short: "api",
    accepted: ["kernel_gateway.jupyter_websocket", "jupyter-websocket"],
    instead: NOTEBOOK_API,
  },
  {
    name: "list_kernels",
    of: PERSONALITY,
    accepted: YES,
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
    accepted: ["0"],
    instead:
      "--prespawn KERNELSPEC=COUNT, such as python3=2: a start takes one of these kernels, where Kernel Gateway only lists them for clients that look for one",
  },
  {
    name: "force_kernel_name",
    instead:
      "--default-kernel, and --kernelspec-dir with the one kernelspec that clients may use",
  },
  { name: "env_process_whitelist", instead: INHERITED },
  { name: "allowed_envs", of: PERSONALITY, instead: INHERITED },
  { name: "env_whitelist", of: PERSONALITY, instead: CLIENT_ENV },
  { name: "client_envs", of: PERSONALITY, instead: CLIENT_ENV },
  {
    name: "seed_uri",
    short: "seed_uri",
    instead:
      "let clients run the code, or put it into a startup file of IPython",
  },
  { name: "allow_credentials", accepted: NO, instead: CREDENTIALS },
  { name: "allow_headers", instead: CORS },
  { name: "allow_methods", instead: CORS },
  { name: "expose_headers", instead: CORS },
  { name: "max_age", instead: CORS },
  { name: "trust_xheaders", accepted: NO, instead: PROXY },
  {
    name: "ws_ping_interval",
    variable: "KG_WS_PING_INTERVAL_SECS",
    instead: PINGS,
  },
  { name: "certfile", short: "certfile", instead: TLS },
  { name: "keyfile", short: "keyfile", instead: TLS },
  { name: "client_ca", short: "client-ca", instead: TLS },
  { name: "ssl_version", short: "ssl_version", instead: TLS },
  { name: "cookie_secret", variable: null, instead: COOKIES },
  { name: "cookie_secret_file", variable: null, instead: COOKIES },
  { name: "authorizer_class", variable: null, instead: PYTHON_CLASS },
  { name: "identity_provider_class", variable: null, instead: PYTHON_CLASS },
  { name: "kernel_manager_class", variable: null, instead: PYTHON_CLASS },
  { name: "kernel_spec_manager_class", variable: null, instead: PYTHON_CLASS },
  {
    name: "kernel_websocket_connection_class",
    variable: null,
    instead: PYTHON_CLASS,
  },
  { name: "cell_parser", of: HTTP, instead: NOTEBOOK_API },
  { name: "comment_prefix", of: HTTP, variable: null, instead: NOTEBOOK_API },
  { name: "allow_notebook_download", of: HTTP, instead: NOTEBOOK_API },
  { name: "static_path", of: HTTP, instead: NOTEBOOK_API },

  { name: "ip", ...server, to: "--host", value: everywhere },
  { name: "port", ...server, to: "--port" },
  { name: "port_retries", ...server, to: "--port-retries" },
  { name: "base_url", ...server, to: "--base-url" },
  { name: "sock", ...server, to: "--socket" },
  {
    name: "sock_mode",
    ...server,
    accepted: ["0600"],
    instead: "only you can open the socket: leave it out",
  },
  { name: "allow_origin", ...server, to: "--allow-origin" },
  {
    name: "allow_origin_pat",
    ...server,
    instead: "--allow-origin for each origin",
  },
  { name: "allow_credentials", ...server, accepted: NO, instead: CREDENTIALS },
  {
    name: "allow_remote_access",
    ...server,
    accepted: NO,
    instead: "--allow-host for each host name that clients use",
  },
  { name: "local_hostnames", ...server, instead: "--allow-host" },
  {
    name: "allow_root",
    ...server,
    accepted: [...YES, ...NO],
    instead: "any user may run it: leave it out",
  },
  { name: "open_browser", ...server, accepted: NO, instead: "kallichore lab" },
  {
    name: "answer_yes",
    ...server,
    accepted: [...YES, ...NO],
    instead: "it asks nothing: leave it out",
  },
  {
    name: "terminals_enabled",
    ...server,
    accepted: NO,
    instead: "it has none",
  },
  { name: "trust_xheaders", ...server, accepted: NO, instead: PROXY },
  {
    name: "disable_check_xsrf",
    ...server,
    accepted: NO,
    instead:
      "only cookies need the check, and there are none without --cookies: leave it out",
  },
  { name: "token", ...server, instead: TOKEN },
  { name: "password", ...server, instead: PASSWORD },
  { name: "token", of: "IdentityProvider", variable: null, instead: TOKEN },
  {
    name: "hashed_password",
    of: "IdentityProvider",
    variable: null,
    instead: PASSWORD,
  },
  { name: "cookie_secret", ...server, instead: COOKIES },
  { name: "root_dir", ...server, instead: FILES },
  { name: "notebook_dir", ...server, instead: FILES },
  { name: "preferred_dir", ...server, instead: FILES },
  { name: "certfile", ...server, instead: TLS },
  { name: "keyfile", ...server, instead: TLS },
  { name: "client_ca", ...server, instead: TLS },
  { name: "ssl_options", ...server, instead: TLS },
  { name: "websocket_ping_interval", ...server, instead: PINGS },
  { name: "websocket_ping_timeout", ...server, instead: PINGS },
  {
    name: "shutdown_no_activity_timeout",
    ...server,
    accepted: ["0"],
    instead: "--idle-shutdown-hours",
  },
  {
    name: "allow_external_kernels",
    ...server,
    accepted: NO,
    instead: "kallichore adopt",
  },
  {
    name: "external_connection_dir",
    ...server,
    instead: "--jupyter-runtime-dir",
  },
  {
    name: "max_body_size",
    ...server,
    instead: "there are limits that suit notebooks: leave it out",
  },
  { name: "jpserver_extensions", ...server, instead: PYTHON_CLASS },
  ...[
    "authorizer_class",
    "config_manager_class",
    "contents_manager_class",
    "identity_provider_class",
    "kernel_manager_class",
    "kernel_spec_manager_class",
    "kernel_websocket_connection_class",
    "login_handler_class",
    "logout_handler_class",
    "session_manager_class",
  ].map((name) => ({ name, ...server, instead: PYTHON_CLASS })),
  ...([SERVER, CHANNELS] as const).flatMap((of): readonly GatewayOption[] => [
    { name: "limit_rate", of, variable: null, accepted: NO, instead: NO_RATE },
    { name: "rate_limit_window", of, variable: null, instead: NO_RATE },
    { name: "iopub_msg_rate_limit", of, variable: null, instead: NO_RATE },
    { name: "iopub_data_rate_limit", of, variable: null, instead: NO_RATE },
    {
      name: "kernel_ws_protocol",
      of,
      variable: null,
      accepted: ["v1.kernel.websocket.jupyter.org"],
      instead: "each client chooses its protocol: leave it out",
    },
  ]),

  {
    name: "default_kernel_name",
    ...culling,
    to: "--default-kernel",
  },
  { name: "root_dir", ...culling, instead: FILES },
  {
    name: "buffer_offline_messages",
    ...culling,
    accepted: YES,
    instead: JOURNAL,
  },
  {
    name: "kernel_info_timeout",
    ...culling,
    instead: "`connection_timeout` of a session",
  },
  {
    name: "use_pending_kernels",
    ...culling,
    instead:
      "a start answers when the kernel is ready, or after two seconds: leave it out",
  },
  {
    name: "allowed_message_types",
    ...culling,
    instead:
      "a program that embeds the server can give clients fewer scopes (docs/access.md)",
  },
  {
    name: "allow_tracebacks",
    ...culling,
    accepted: YES,
    instead: OUTPUT_AS_IT_IS,
  },
  {
    name: "traceback_replacement_message",
    ...culling,
    instead: OUTPUT_AS_IT_IS,
  },
  {
    name: "transport_encryption",
    ...culling,
    accepted: ["disabled", "auto"],
    instead: "--kernel-sockets ipc, which only you can reach",
  },
  {
    name: "allowed_kernelspecs",
    of: "KernelSpecManager",
    variable: null,
    instead: ONLY_KERNELSPECS,
  },
  {
    name: "ensure_native_kernel",
    of: "KernelSpecManager",
    variable: null,
    instead: ONLY_KERNELSPECS,
  },
];

/** Accepts these options, their variables and their short forms. They are not in the help text. */
export function addGatewayOptions(command: Command): Command {
  for (const option of gatewayOptions) {
    const [flag = "", ...others] = flagsOf(option);
    const variable = variableOf(option);
    const first = hidden(`${flag} <value>`);
    command.addOption(variable === undefined ? first : first.env(variable));
    for (const other of others) command.addOption(hidden(`${other} <value>`));
  }
  for (const flag of ["--debug", ...FIXED_FLAGS])
    command.addOption(hidden(flag));
  return command;
}

/** Flags of Jupyter without a value that name what the server always does. */
const FIXED_FLAGS = ["--no-browser", "--allow-root"];

/**
 * Sets the server's own options that they stand for, unless those were given
 * themselves. A flag overrides a variable. Throws `usage` for an option that has
 * no meaning here.
 */
export function applyGatewayOptions(command: Command): void {
  for (const given of [...givenFlags(command), ...givenVariables(command)]) {
    const { option, name, text, isFlag } = given;
    const { to, instead, accepted = [], isVariableOnly = false } = option;
    if (isVariableOnly && !isFlag) continue;
    const value = text.toLowerCase();
    if (
      accepted instanceof RegExp
        ? accepted.test(value)
        : accepted.includes(value)
    ) {
      continue;
    }
    if (to === undefined) {
      throw new CommandError("usage", `${name} has no meaning here`, {
        hint: `Instead: ${instead}.`,
      });
    }
    set(command, to, option.value?.(text) ?? text, name);
  }
  if (command.getOptionValue("debug") === true) {
    set(command, "--log-level", "debug", "--debug");
  }
}

interface Given {
  readonly option: GatewayOption;
  /** The flag or the variable that was used. */
  readonly name: string;
  readonly text: string;
  readonly isFlag: boolean;
}

function givenFlags(command: Command): readonly Given[] {
  return gatewayOptions.flatMap((option) =>
    flagsOf(option).flatMap((name) => {
      const attribute = attributeOf(name);
      if (command.getOptionValueSource(attribute) !== "cli") return [];
      const text = command.getOptionValue(attribute) as string;
      return [{ option, name, text, isFlag: true }];
    }),
  );
}

/** An empty variable is none, unless the option has a meaning for it. */
function givenVariables(command: Command): readonly Given[] {
  return gatewayOptions.flatMap((option) => {
    const name = variableOf(option);
    const attribute = attributeOf(flagOf(option));
    const isThere = command.getOptionValueSource(attribute) === "env";
    if (name === undefined || !isThere) return [];
    const text = command.getOptionValue(attribute) as string;
    if (text === "" && option.value !== everywhere) return [];
    return [{ option, name, text, isFlag: false }];
  });
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
  return String(YES.includes(text.toLowerCase()));
}

/** An empty address is every one. */
function everywhere(ip: string): string {
  return ip === "" || ip === "*" ? "0.0.0.0" : ip;
}

export function flagOf({ name, of = "KernelGatewayApp" }: GatewayOption) {
  return `--${of}.${name}`;
}

/** The flag, and its other spellings. */
export function flagsOf(option: GatewayOption): readonly string[] {
  const { name, of = "KernelGatewayApp", short } = option;
  return [
    flagOf(option),
    ...CLASSES[of].map((subclass) => `--${subclass}.${name}`),
    ...(short === undefined ? [] : [`--${short}`]),
  ];
}

export function variableOf({ name, variable }: GatewayOption) {
  return variable === null
    ? undefined
    : (variable ?? `KG_${name.toUpperCase()}`);
}

function hidden(flags: string): Option {
  return new Option(flags).hideHelp();
}

function attributeOf(flag: string): string {
  return new Option(`${flag} <value>`).attributeName();
}
