/** Decides whether a kernel can use Unix sockets, before it has run here for the first time. */
import { basename } from "node:path";
import type { Recipe } from "./kernel.ts";

/** The settings for a kernel's sockets: Unix sockets or TCP ports. */
export const KERNEL_SOCKETS = ["auto", "ipc", "tcp"] as const;
/** `auto`: Unix sockets for the kernels that can use them. */
export type KernelSockets = (typeof KERNEL_SOCKETS)[number];

/** Whether a kernel can use Unix sockets; `required`: it must not get ports. */
export type IpcSupport = "required" | "able" | "unable" | "unknown";

/**
 * Judges by the command and the language. `unknown`: the kernel gets Unix
 * sockets, and ports if it does not bind them.
 */
export function ipcSupport({
  argv,
  language,
}: Pick<Recipe, "argv" | "language">): IpcSupport {
  const [program = "", ...args] = argv;
  const name = basename(program).replace(/\.exe$/i, "");
  if (UNABLE_PROGRAMS.test(name) || UNABLE_LANGUAGES.test(language)) {
    return "unable";
  }
  if (args.some((word) => UNABLE_WORDS.test(word))) return "unable";
  if (ABLE_PROGRAMS.test(name)) return "able";
  return args.some((word) => ABLE_WORDS.test(word)) ? "able" : "unknown";
}

/** ZeroMQ for the JVM and .NET has no Unix sockets, or imitates them over TCP. The other programs run the kernel where the server's directory does not exist. */
const UNABLE_PROGRAMS =
  /^(java|almond.*|coursier|cs|scala.*|kotlin.*|ijava.*|dotnet.*|docker|podman|nerdctl|kubectl|ssh|srun|flatpak|snap|sudo|doas|su|runuser|wsl|wine.*)$/;
const UNABLE_WORDS = /^-jar$|\.jar$|^(docker|podman|srun|dotnet)$/;
const UNABLE_LANGUAGES =
  /^(java|scala|kotlin|clojure|groovy|c#|csharp|f#|fsharp|powershell|\.net.*)$/i;
/** Kernels that are based on xeus. */
const ABLE_PROGRAMS = /^x(python|python-raw|r|cpp|c|lua|sqlite|octave|eus.*)$/;
const ABLE_WORDS =
  /\bipykernel(_launcher)?\b|\bIRkernel::main\b|\bpython-wasm\.js$/;
