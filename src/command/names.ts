/** Resolves names that people type: whole or in part. Suggests similar names. */
import { resolve } from "node:path";
import editDistance from "damerau-levenshtein";
import type { ActiveSession, Client } from "../../client/index.ts";
import { CommandError } from "./exit.ts";

/** Finds a session by its id, or by an unambiguous beginning of it. Throws `refused` with a list of the sessions. */
export async function findSession(
  client: Client,
  name: string,
): Promise<ActiveSession> {
  const sessions = await client.sessions.list();
  const exact = sessions.find(({ session_id }) => session_id === name);
  if (exact !== undefined) return exact;
  const matching = sessions.filter(({ session_id }) =>
    session_id.startsWith(name),
  );
  const [only, ...others] = matching;
  if (only !== undefined && others.length === 0 && name !== "") return only;
  const ids = (matching.length > 1 ? matching : sessions).map(
    ({ session_id }) => session_id,
  );
  const message =
    matching.length > 1
      ? `The ids of several sessions begin with ${name}`
      : `There is no session ${name}`;
  throw new CommandError("refused", message, {
    reason: "session_not_found",
    hint: suggestion(name, ids, "To start one: kallichore start KERNEL"),
  });
}

/** Finds a session with a running kernel. Throws `refused`. */
export async function findRunning(
  client: Client,
  name: string,
): Promise<ActiveSession> {
  const session = await findSession(client, name);
  const { session_id, status } = session;
  if (status !== "exited" && status !== "uninitialized") return session;
  throw new CommandError(
    "refused",
    `Session ${session_id} has no running kernel`,
    {
      reason: "session_not_running",
      hint: `To start its kernel: kallichore restart ${session_id}`,
    },
  );
}

/** Finds the kernelspec of that name, in any case; without a name, the default. Throws `refused` with a list of the kernels. */
export async function findKernel(
  client: Client,
  name: string | undefined,
): Promise<string> {
  const found = await client.kernelspecs();
  const { kernelspecs, default: preferred } = found;
  if (name === undefined && preferred !== null) return preferred;
  if (name === undefined) {
    throw new CommandError("refused", "There is no kernel to start", {
      reason: "kernelspec_not_found",
      hint: "For Python: pip install ipykernel && python -m ipykernel install --user",
    });
  }
  const names = kernelspecs.map((spec) => spec.name);
  const isNamed = (one: string) => one.toLowerCase() === name.toLowerCase();
  const known = names.find(isNamed);
  if (known !== undefined) return known;
  const broken = found.problems.find(({ path }) =>
    isNamed(/([^/\\]+)[/\\]kernel\.json$/.exec(path)?.[1] ?? ""),
  );
  if (broken !== undefined) {
    const { path, message } = broken;
    throw new CommandError("refused", `The kernel ${name} cannot be started`, {
      hint: `${path}: ${message}`,
    });
  }
  throw new CommandError("refused", `There is no kernel ${name}`, {
    reason: "kernelspec_not_found",
    hint: suggestion(
      name,
      names,
      "To see why kernelspecs cannot be used: kallichore kernels",
    ),
  });
}

/** `--cwd`, relative to the current directory. Default: the current directory, if the server has it. */
export function directoryOf(cwd: string | undefined) {
  if (cwd === undefined) {
    return {
      working_directory: process.cwd(),
      working_directory_required: false,
    };
  }
  const isHome = cwd === "~" || cwd.startsWith("~/"); // the server resolves it: the home directory of its own user
  return {
    working_directory: isHome ? cwd : resolve(cwd),
    working_directory_required: true,
  };
}

const MOST_LISTED = 12;

/** `otherwise` is the hint if there are no names. */
function suggestion(
  name: string,
  names: readonly string[],
  otherwise: string,
): string {
  if (names.length === 0) return `There are none. ${otherwise}`;
  const close = closest(name, names);
  if (close !== undefined) return `Did you mean ${close}?`;
  const listed = names.slice(0, MOST_LISTED).join(", ");
  const more = names.length > MOST_LISTED ? ", …" : "";
  return `There are: ${listed}${more}`;
}

/** The most similar name; `undefined` if none is similar. */
export function closest(
  name: string,
  names: readonly string[],
): string | undefined {
  const limit = Math.max(1, Math.floor(name.length / 3));
  let best: { name: string; distance: number } | undefined;
  for (const candidate of names) {
    const { steps: distance } = editDistance(
      name.toLowerCase(),
      candidate.toLowerCase(),
    );
    if (distance <= limit && distance < (best?.distance ?? Infinity)) {
      best = { name: candidate, distance };
    }
  }
  return best?.name;
}
