/** What a client asked for, with everything that it left open filled in: from a kernelspec, or by default. */
import { randomBytes } from "node:crypto";
import { userInfo } from "node:os";
import { failure, type SessionPolicy } from "../../../contract/index.ts";
import { kernelEnvironment } from "../../host/environment.ts";
import { findProgram, searchPath } from "../../host/program.ts";
import { workingDirectory } from "../../host/working-directory.ts";
import { changed } from "../../session/policy.ts";
import type { SessionSpec } from "../../session/session.ts";
import { socketsOf } from "../../kernelspecs/kernelspecs.ts";
import type { KernelspecSource, SessionRequest } from "./service.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface Defaults {
  readonly env: Environment;
  /** Of sessions that say nothing else. */
  readonly policy: SessionPolicy;
}

/** Seconds. */
const CONNECTION_TIMEOUT = 30;
const PROTOCOL_VERSION = "5.3";

/** `env`: what the kernel will inherit, in which its program is looked up. Throws `kernelspec_not_found`, `bad_kernelspec`, `bad_working_directory` and `program_not_found`. */
export async function resolveSpec(
  request: SessionRequest,
  kernelspecs: KernelspecSource,
  { env, policy }: Defaults,
): Promise<SessionSpec> {
  const spec =
    request.kernel_name === undefined
      ? undefined
      : await kernelspecs.find(request.kernel_name);
  const argv = request.argv ?? spec?.argv ?? [];
  const cwd = await directoryFor(request, env);
  await assertProgram(argv[0], request, { base: env, cwd });
  const given = request.startup_environment_arg;
  return {
    session_id:
      request.session_id ??
      `${spec?.name ?? "session"}-${randomBytes(4).toString("hex")}`,
    kernel_name: spec?.name,
    workspace_id: request.workspace_id ?? undefined,
    labels: request.labels ?? {},
    policy: changed(policy, request.policy),
    argv,
    display_name: request.display_name ?? spec?.display_name ?? "",
    language: request.language ?? spec?.language ?? "",
    username: request.username ?? userName(),
    interrupt_mode: request.interrupt_mode ?? spec?.interrupt_mode ?? "signal",
    session_mode: request.session_mode ?? "console",
    working_directory: request.working_directory ?? "",
    notebook_uri: request.notebook_uri ?? undefined,
    input_prompt: request.input_prompt ?? "",
    continuation_prompt: request.continuation_prompt ?? "",
    env: request.env ?? [],
    spec_env: spec?.env,
    kernel_sockets: socketsOf(spec?.metadata ?? {}),
    connection_timeout: request.connection_timeout ?? CONNECTION_TIMEOUT,
    protocol_version: request.protocol_version ?? PROTOCOL_VERSION,
    startup_environment: startupEnvironment(request),
    startup_environment_arg:
      given === undefined || given === null || given === "" ? undefined : given,
    key: randomBytes(16).toString("hex"),
  };
}

async function directoryFor(
  { working_directory = "", working_directory_required }: SessionRequest,
  env: Environment,
): Promise<string> {
  const { path, fault } = await workingDirectory(working_directory, { env });
  if (fault !== undefined && working_directory_required === true) {
    throw failure("bad_working_directory", { why: fault });
  }
  return path;
}

async function assertProgram(
  program: string | undefined,
  request: SessionRequest,
  { base, cwd }: { readonly base: Environment; readonly cwd: string },
): Promise<void> {
  if (program === undefined) return; // to be adopted
  const env = kernelEnvironment({ base, actions: request.env ?? [] });
  const options = { env, cwd };
  if ((await findProgram(program, options)) !== undefined) return;
  // A start-up command may be what brings the program.
  const isBare = !program.includes("/");
  if (isBare && startupEnvironment(request) !== "none") return;
  const path = isBare ? searchPath(options).join(":") : "";
  throw failure("program_not_found", { program, path });
}

function startupEnvironment({
  startup_environment,
  run_in_shell,
}: SessionRequest): SessionSpec["startup_environment"] {
  return startup_environment ?? (run_in_shell === true ? "shell" : "none");
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return ""; // a user without an entry in the password database
  }
}
