/** Which kernels can use Unix sockets, as far as that is known before they have ever run here. */
import { basename } from "node:path";
import type { Recipe } from "./kernel.ts";

/** What a kernel's sockets are: Unix sockets or TCP ports. */
export const KERNEL_SOCKETS = ["auto", "ipc", "tcp"] as const;
/** `auto`: Unix sockets for the kernels that can use them. */
export type KernelSockets = (typeof KERNEL_SOCKETS)[number];

/** Whether a kernel can use Unix sockets; `required`: it is not to have others. */
export type IpcSupport = "required" | "able" | "unable" | "unknown";

/**
 * What is known of a kernel before it has ever run here. `unknown`: it is tried
 * with Unix sockets, and gets ports where it does not bind them.
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

/** The JVM's and .NET's ZeroMQ have no Unix sockets, or imitate them over TCP; the others run the kernel where our directory is not. */
const UNABLE_PROGRAMS =
  /^(java|almond.*|coursier|cs|scala.*|kotlin.*|ijava.*|dotnet.*|docker|podman|nerdctl|kubectl|ssh|srun|flatpak|snap|sudo|doas|su|runuser|wsl|wine.*)$/;
const UNABLE_WORDS = /^-jar$|\.jar$|^(docker|podman|srun|dotnet)$/;
const UNABLE_LANGUAGES =
  /^(java|scala|kotlin|clojure|groovy|c#|csharp|f#|fsharp|powershell|\.net.*)$/i;
/** xeus. */
const ABLE_PROGRAMS = /^x(python|python-raw|r|cpp|c|lua|sqlite|octave|eus.*)$/;
const ABLE_WORDS =
  /\bipykernel(_launcher)?\b|\bIRkernel::main\b|\bpython-wasm\.js$/;
