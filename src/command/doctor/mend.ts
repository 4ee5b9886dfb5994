/** Command lines that a person can copy: for the shell of the system. */
import { defaultStateRoot } from "../../state/root.ts";

/** What a command line would do, and the command line. */
export interface Mend {
  readonly purpose: string;
  readonly command: string;
}

const isWindows = process.platform === "win32";

/** Goes on with a state. */
export function serve(root: string, name: string): string {
  return ["kallichore serve --keep", ...stateOptions(root, name)].join(" ");
}

/** The options that name a state; those that have their default value are left out. */
export function stateOptions(root: string, name: string): string[] {
  return [
    ...(root === defaultStateRoot(process.env)
      ? []
      : [`--state-dir ${quoted(root)}`]),
    ...(name === "default" ? [] : [`--state-name ${quoted(name)}`]),
  ];
}

export function end(pid: number): string {
  return isWindows ? `Stop-Process -Id ${pid}` : `kill ${pid}`;
}

export function removeFile(path: string): string {
  return isWindows ? `Remove-Item ${quoted(path)}` : `rm ${quoted(path)}`;
}

export function removeFolder(path: string): string {
  return isWindows
    ? `Remove-Item -Recurse ${quoted(path)}`
    : `rm -r ${quoted(path)}`;
}

export function move(path: string, to: string): string {
  const verb = isWindows ? "Move-Item" : "mv";
  return `${verb} ${quoted(path)} ${quoted(to)}`;
}

/** One argument for sh, or for PowerShell. */
export function quoted(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  const mark = isWindows ? "''" : `'\\''`;
  return `'${text.replaceAll("'", mark)}'`;
}
