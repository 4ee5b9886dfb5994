/**
 * Parses kcserver's command line as strictly as Kallichore does: an argument that
 * is unknown, malformed, out of range, repeated or superfluous is refused with
 * the usage and exit code 2.
 */
import {
  Command,
  CommanderError,
  InvalidArgumentError,
  Option,
} from "commander";
import { KERNEL_SOCKETS, type KernelSockets } from "../../kernel/ipc.ts";
import type { Prespawn } from "../../kernel/warm.ts";
import { bytes } from "../bytes.ts";
import { prespawn } from "../prespawn.ts";
import {
  COMPATIBLE_VERSION,
  isVersion,
  VERSION,
} from "../../package/version.ts";

export interface Options {
  readonly port: number;
  /** A path, or `none`. */
  readonly token?: string;
  readonly logFile?: string;
  readonly connectionFile?: string;
  readonly handshakeSocket?: string;
  readonly idleShutdownHours?: number;
  /** Milliseconds; 0 is off. */
  readonly resourceSampleInterval?: number;
  readonly logLevel?: string;
  readonly socketDir?: string;
  readonly unixSocket?: string;
  /** Any word; it is checked later, with another exit code. */
  readonly transport?: string;
  readonly reportVersion: string;
  /** Bytes. */
  readonly diskLimit?: number;
  readonly kernelSockets: KernelSockets;
  readonly prespawn: readonly Prespawn[];
  /** A directory, or `none`. */
  readonly jupyterRuntimeDir?: string;
  /** Keeps sessions and kernels when the server is killed: the directory of the states of all servers. */
  readonly stateDir?: string;
  readonly stateName?: string;
  readonly keepEnv?: boolean;
  readonly allowOrigin: readonly string[];
  readonly allowHost: readonly string[];
  /** If set, a launcher is made in this directory and no server is started. */
  readonly installLauncher?: string;
}

export type Parsed =
  | { readonly options: Options }
  | { readonly code: 0 | 2; readonly stdout: string; readonly stderr: string };

export interface ParseSurroundings {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly platform?: NodeJS.Platform;
  /** The Kallichore version that the program which starts the server expects, if it is known. */
  readonly expectedVersion?: string | undefined;
}

/** `argv` without the interpreter and the program. */
export function parseOptions(
  argv: readonly string[],
  {
    env = process.env,
    platform = process.platform,
    expectedVersion = COMPATIBLE_VERSION,
  }: ParseSurroundings = {},
): Parsed {
  const printed = { stdout: "", stderr: "" };
  const reported = env["KALLICHORE_REPORT_VERSION"] || expectedVersion;
  const command = commandFor(reported, platform)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => (printed.stdout += text),
      writeErr: (text) => (printed.stderr += text),
    });
  try {
    if (!isVersion(reported)) {
      command.error("error: KALLICHORE_REPORT_VERSION is not a version");
    }
    refuseRepeated(command);
    command.parse(normalized(argv, command), { from: "user" });
    return { options: command.opts<Options>() };
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { code: error.exitCode === 0 ? 0 : 2, ...printed };
  }
}

function commandFor(reported: string, platform: NodeJS.Platform): Command {
  const command = new Command("kcserver")
    .description(
      "Start Jupyter kernels, watch them, and connect clients to them.",
    )
    .usage("[OPTIONS]")
    .showSuggestionAfterError(false)
    .helpOption("-h, --help", "Print help")
    .showHelpAfterError(
      "\nUsage: kcserver [OPTIONS]\n\nFor more information, try '--help'.",
    )
    .action(() => {});
  const add = (
    flags: string,
    text: string,
    parse?: (value: string) => unknown,
  ) => {
    const option = new Option(flags, text);
    if (parse !== undefined) option.argParser(parse);
    return command.addOption(option);
  };
  add("-p, --port <PORT>", "TCP port; 0: a free one (default: 0)", uint16);
  command.setOptionValue("port", 0);
  add(
    "-t, --token <PATH>",
    "File with the token that clients must send; the server deletes the file after reading it. 'none': no token (default: a random token)",
  );
  add(
    "--log-file <PATH>",
    "File for the log, in addition to standard output and standard error; emptied at the start",
  );
  add(
    "--connection-file <PATH>",
    "File to write with the server's address and token, as JSON",
  );
  add(
    "--handshake-socket <PATH>",
    "Socket to connect to, to send the server's address and token, as JSON",
  );
  add(
    "-i, --idle-shutdown-hours <HOURS>",
    "Hours without use after which the server ends; 0: 30 seconds (default: never)",
    uint16,
  );
  add(
    "-r, --resource-sample-interval <MS>",
    "Milliseconds between samples of the kernels' CPU and memory; 0: no samples (default: 1000)",
    uint16,
  );
  add(
    "-l, --log-level <LEVEL>",
    "Least severe level to log: trace, debug, info, warn or error (default: RUST_LOG, or info)",
  );
  if (platform !== "win32") {
    add(
      "--socket-dir <PATH>",
      "Directory for the Unix sockets of the server and its sessions",
    );
    add("--unix-socket <PATH>", "Unix socket to listen on");
  }
  add(
    "--transport <TRANSPORT>",
    "Transport to listen on: tcp, socket or named-pipe",
  );
  add(
    "--report-version <VERSION>",
    "Kallichore version to report to clients (default: the version that the surrounding Positron expects, or 0.1.69) (env: KALLICHORE_REPORT_VERSION)",
    version,
  );
  command.setOptionValue("reportVersion", reported);
  command.addOption(
    new Option(
      "--disk-limit <BYTES>",
      "Disk space for the journals of all sessions together, such as 512M; 0: none (default: 4G)",
    )
      .env("KALLICHORE_DISK_LIMIT")
      .argParser(bytes(0)),
  );
  command.addOption(
    new Option(
      "--kernel-sockets <KIND>",
      "Connections to kernels. ipc: Unix sockets, which only the server's user can reach; tcp: ports; auto: Unix sockets for kernels that support them",
    )
      .env("KALLICHORE_KERNEL_SOCKETS")
      .choices(KERNEL_SOCKETS)
      .default("tcp"),
  );
  command.addOption(
    new Option(
      "--prespawn <KERNELSPEC=COUNT>",
      "Warm kernels: started before a session asks for one, such as python3=2; in another directory: python3=2:/home/ann; repeatable",
    )
      .env("KALLICHORE_PRESPAWN")
      .argParser(prespawn)
      .default([], "none"),
  );
  command.addOption(
    new Option(
      "--jupyter-runtime-dir <PATH>",
      "Directory for the connection files of kernels, so that 'jupyter console --existing' finds them; 'none': no files (default: Jupyter's runtime directory)",
    ).env("KALLICHORE_JUPYTER_RUNTIME_DIR"),
  );
  command.addOption(
    new Option(
      "--state-dir <PATH>",
      "Keep sessions and kernels when the server is killed: it is started again with the same process id, address and token. Directory for their files",
    ).env("KALLICHORE_STATE_DIR"),
  );
  command.addOption(
    new Option(
      "--state-name <NAME>",
      "With --state-dir: go on with the sessions of this name, which a server that was killed has left (default: a new name)",
    ).env("KALLICHORE_STATE_NAME"),
  );
  command.addOption(
    new Option(
      "--keep-env",
      "With --state-dir: write down the values of the sessions' environment variables too, so that kernels can be restarted after the server was killed",
    ).env("KALLICHORE_KEEP_ENV"),
  );
  addRepeatable(
    command,
    "--allow-origin <ORIGIN>",
    "Origin whose web pages may use the server; *: all",
  );
  addRepeatable(
    command,
    "--allow-host <NAME>",
    "Additional host name that clients may use for the server",
  );
  add(
    "--install-launcher <DIR>",
    "Write an executable 'kcserver' that runs this one into this directory, print its path, and exit",
  );
  add("-V, --version", "Print the version");
  command.on("option:version", () => {
    const { reportVersion } = command.opts<Options>();
    // Programs that parse this line read its second word.
    const text = `kcserver ${reportVersion} (kallichore ${VERSION})\n`;
    command.configureOutput().writeOut?.(text);
    throw new CommanderError(0, "kallichore.version", text);
  });
  return command;
}

/** An option that may be repeated, to give one more value. */
function addRepeatable(command: Command, flags: string, text: string): void {
  const collect = (value: string, before: readonly string[]) => [
    ...before,
    value,
  ];
  command.addOption(
    new Option(flags, `${text}; repeatable`)
      .default([], "none")
      .argParser(collect),
  );
}

const REPEATABLE = new Set(["allow-origin", "allow-host", "prespawn"]);

function refuseRepeated(command: Command): void {
  const seen = new Set<string>();
  for (const option of command.options) {
    const name = option.name();
    if (REPEATABLE.has(name)) continue;
    command.on(`option:${name}`, () => {
      if (seen.has(name)) {
        command.error(
          `error: the argument '${option.flags}' cannot be used multiple times`,
        );
      }
      seen.add(name);
    });
  }
}

/**
 * Adapts two rules of commander to Kallichore's: `-p=1` means `-p 1`; a word that
 * begins with `-` is an option and not a value, unless it is joined with `=`.
 */
function normalized(argv: readonly string[], command: Command): string[] {
  const awaiting = new Map<string | undefined, Option>();
  for (const option of command.options.filter(({ required }) => required)) {
    if (option.short !== undefined) awaiting.set(option.short, option);
    if (option.long !== undefined) awaiting.set(option.long, option);
  }
  return argv.map((word, i) => {
    const before = awaiting.get(argv[i - 1]);
    if (before !== undefined && /^-./.test(word)) {
      command.error(
        `error: a value is required for '${before.flags}' but none was supplied`,
      );
    }
    return word.replace(/^(-[a-zA-Z])=/, "$1");
  });
}

function uint16(text: string): number {
  const number = /^\+?\d+$/.test(text) ? Number(text) : NaN;
  if (!(number <= 65_535)) {
    throw new InvalidArgumentError("Use a number from 0 to 65535.");
  }
  return number;
}

function version(text: string): string {
  if (!isVersion(text)) {
    throw new InvalidArgumentError("Use a version, such as 0.1.69.");
  }
  return text;
}
