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

/** Any Python 3; `undefined` if there is none. */
export const python = candidates.find((candidate) =>
  runs(candidate, ["--version"]),
);

/** A Python that has ipykernel; `undefined` if there is none. */
export const pythonWithIpykernel = candidates.find((candidate) =>
  runs(candidate, ["-m", "ipykernel", "--version"]),
);

/** A Python that has a Jupyter Server; `undefined` if there is none. */
export const pythonWithJupyterServer = candidates.find((candidate) =>
  runs(candidate, ["-m", "jupyter_server", "--version"]),
);

/** A Python that has JupyterLab, and an ipykernel with widgets; `undefined` where there is none. */
export const pythonWithJupyterLab = candidates.find((candidate) =>
  runs(candidate, [
    "-c",
    "from importlib.util import find_spec; assert all(map(find_spec, ['jupyterlab', 'ipykernel', 'ipywidgets']))",
  ]),
);

/** A Python that has Notebook 7, and an ipykernel; `undefined` where there is none. */
export const pythonWithNotebook = candidates.find((candidate) =>
  runs(candidate, [
    "-c",
    "from importlib.util import find_spec; assert all(map(find_spec, ['notebook.app', 'ipykernel']))",
  ]),
);

/** A Python that has Jupyter's console; `undefined` where there is none. */
export const pythonWithJupyterConsole = candidates.find((candidate) =>
  runs(candidate, ["-m", "jupyter_console", "--version"]),
);

/** A Python that has JupyterHub; `undefined` where there is none. */
export const pythonWithJupyterHub = candidates.find((candidate) =>
  runs(candidate, ["-m", "jupyterhub", "--version"]),
);

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

function runs(program: string, args: readonly string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore", timeout: TIMEOUT_MS });
    return true;
  } catch {
    return false; // it does not exist, or lacks the module
  }
}
