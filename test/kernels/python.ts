/**
 * The Pythons of this machine. Tests that need one, or an ipykernel in it, use
 * the ones that are found here, and are skipped if there are none.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const TIMEOUT_MS = 20_000;

/** An active environment has priority over PATH, as in the search for kernelspecs. */
const candidates = [
  ...(process.env["VIRTUAL_ENV"] === undefined
    ? []
    : [join(process.env["VIRTUAL_ENV"], "bin", "python")]),
  "python3",
  "/usr/bin/python3",
];

/** What tests may need of a Python. */
const MODULES = [
  "ipykernel",
  "ipywidgets",
  "jupyter_console",
  "jupyter_server",
  "jupyterhub",
  "jupyterlab",
  "notebook.app", // of Notebook 7
] as const;
type Module = (typeof MODULES)[number];

/** The modules of each Python that was asked; `undefined`: the program does not run. All are asked for in one process, because each test file does this. */
const asked = new Map<string, ReadonlySet<string> | undefined>();

/** Any Python 3; `undefined` if there is none. */
export const python = withModules();

/** A Python that has ipykernel; `undefined` if there is none. */
export const pythonWithIpykernel = withModules("ipykernel");

/** A Python that has a Jupyter Server; `undefined` if there is none. */
export const pythonWithJupyterServer = withModules("jupyter_server");

/** A Python that has JupyterLab, and an ipykernel with widgets; `undefined` where there is none. */
export const pythonWithJupyterLab = withModules(
  "jupyterlab",
  "ipykernel",
  "ipywidgets",
);

/** A Python that has Notebook 7, and an ipykernel; `undefined` where there is none. */
export const pythonWithNotebook = withModules("notebook.app", "ipykernel");

/** A Python that has Jupyter's console; `undefined` where there is none. */
export const pythonWithJupyterConsole = withModules("jupyter_console");

/** A Python that has JupyterHub; `undefined` where there is none. */
export const pythonWithJupyterHub = withModules("jupyterhub");

/** Writes `<folder>/kernels/python3/kernel.json` if there is an ipykernel, so that the folder can be used as JUPYTER_PATH. */
export function installIpykernel(folder: string): void {
  if (pythonWithIpykernel === undefined) return;
  const home = join(folder, "kernels", "python3");
  mkdirSync(home, { recursive: true });
  const command = "-m ipykernel_launcher -f {connection_file}";
  const spec = {
    argv: [pythonWithIpykernel, ...command.split(" ")],
    display_name: "Python 3 (ipykernel)",
    language: "python",
    metadata: { debugger: true },
  };
  writeFileSync(join(home, "kernel.json"), JSON.stringify(spec));
}

function withModules(...wanted: readonly Module[]): string | undefined {
  return candidates.find((candidate) => {
    if (!asked.has(candidate)) asked.set(candidate, modulesOf(candidate));
    const found = asked.get(candidate);
    return found !== undefined && wanted.every((name) => found.has(name));
  });
}

/** `undefined` if the program does not run. */
function modulesOf(program: string): ReadonlySet<string> | undefined {
  const code = `
import sys
from importlib.util import find_spec
for name in sys.argv[1:]:
    try:
        if find_spec(name): print(name)
    except ImportError: pass
`;
  try {
    const printed = execFileSync(program, ["-c", code, ...MODULES], {
      stdio: ["ignore", "pipe", "ignore"],
      encoding: "utf8",
      timeout: TIMEOUT_MS,
    });
    return new Set(printed.split(/\s+/));
  } catch {
    return undefined;
  }
}
