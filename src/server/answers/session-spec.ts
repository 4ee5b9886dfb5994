/** A client's request for a session, completed from the kernelspec or with defaults. */
import { randomUUID } from "node:crypto";
import { failure } from "../../../contract/index.ts";
import type { HostFacts } from "../../host/host.ts";
import type { Recipe } from "../../kernel/kernel.ts";
import type { Prespawn } from "../../kernel/warm.ts";
import { limitsOf } from "../../session/limits.ts";
import { changed } from "../../session/policy.ts";
import type { SessionSpec } from "../../session/spec.ts";
import {
  cullIdleTimeoutOf,
  socketsOf,
} from "../../kernelspecs/our-metadata.ts";
import type { Service, SessionRequest } from "./service.ts";

/** Seconds. */
const CONNECTION_TIMEOUT = 30;
const PROTOCOL_VERSION = "5.3";
/** The ids of kernels that Jupyter Server accepts in its addresses. */
const UUID = /^\w+-\w+-\w+-\w+-\w+$/;

type SpecSources = Pick<
  Service,
  "host" | "kernelspecs" | "policy" | "sessionLimits" | "newId"
>;

/** Throws `bad_configuration`, `kernelspec_not_found`, `bad_kernelspec`, `bad_working_directory` and `program_not_found`. */
export async function resolveSpec(
  request: SessionRequest,
  { host, kernelspecs, policy, sessionLimits, newId }: SpecSources,
): Promise<SessionSpec> {
  const limits = limitsOf(request.limits, sessionLimits);
  if (limits.cpus !== null) assertCpuLimit(host);
  const spec =
    request.kernel_name === undefined
      ? undefined
      : await kernelspecs.find(request.kernel_name);
  const { metadata = {} } = spec ?? {};
  const argv = request.argv ?? spec?.argv ?? [];
  const cwd = await directoryFor(request, host);
  await assertProgram(argv[0], request, { host, cwd });
  const given = request.startup_environment_arg;
  const session_id =
    request.session_id ?? `${spec?.name ?? "session"}-${newId(4)}`;
  return {
    session_id,
    kernel_id: UUID.test(session_id) ? session_id : randomUUID(),
    kernel_name: spec?.name,
    workspace_id: request.workspace_id ?? undefined,
    keep: request.keep ?? undefined,
    labels: request.labels ?? {},
    policy: changed(
      changed(policy, { cull_idle_timeout: cullIdleTimeoutOf(metadata) }),
      request.policy,
    ),
    limits,
    argv,
    display_name: request.display_name ?? spec?.display_name ?? "",
    language: request.language ?? spec?.language ?? "",
    username: request.username ?? host.userName(),
    interrupt_mode: request.interrupt_mode ?? spec?.interrupt_mode ?? "signal",
    session_mode: request.session_mode ?? "console",
    working_directory: request.working_directory ?? "",
    notebook_uri: request.notebook_uri ?? undefined,
    input_prompt: request.input_prompt ?? "",
    continuation_prompt: request.continuation_prompt ?? "",
    env: request.env ?? [],
    spec_env: spec?.env,
    kernel_sockets: socketsOf(metadata),
    connection_timeout: request.connection_timeout ?? CONNECTION_TIMEOUT,
    protocol_version: request.protocol_version ?? PROTOCOL_VERSION,
    startup_environment: startupEnvironment(request),
    startup_environment_arg:
      given === undefined || given === null || given === "" ? undefined : given,
    key: newId(16),
  };
}

/** Throws `bad_configuration`. */
export function assertCpuLimit(host: HostFacts): void {
  const why = host.whyNoCpuLimit();
  if (why === undefined) return;
  throw failure("bad_configuration", {
    why: `the CPU of a kernel cannot be limited on this machine: ${why}`,
  });
}

/** What a session with this kernelspec would launch. Throws as `resolveSpec` does. */
export async function warmRecipe(
  { kernel_name, working_directory }: Prespawn,
  name: string,
  sources: SpecSources,
): Promise<Recipe> {
  const request = {
    session_id: name,
    kernel_name,
    working_directory,
    working_directory_required: true,
  };
  const spec = await resolveSpec(request, sources);
  const timeout_ms = spec.connection_timeout * 1000;
  return { ...spec, connection: undefined, timeout_ms };
}

async function directoryFor(
  { working_directory = "", working_directory_required }: SessionRequest,
  host: HostFacts,
): Promise<string> {
  const { path, fault } = await host.workingDirectory(working_directory);
  if (fault !== undefined && working_directory_required === true) {
    throw failure("bad_working_directory", { why: fault });
  }
  return path;
}

async function assertProgram(
  program: string | undefined,
  request: SessionRequest,
  { host, cwd }: { readonly host: HostFacts; readonly cwd: string },
): Promise<void> {
  if (program === undefined) return; // the session will adopt a kernel
  const env = host.environment({ actions: request.env ?? [] });
  const { file, path } = await host.findProgram(program, { env, cwd });
  if (file !== undefined) return;
  // A start-up command may add the program's directory to the PATH.
  const isBare = !program.includes("/");
  if (isBare && startupEnvironment(request) !== "none") return;
  throw failure("program_not_found", { program, path: isBare ? path : "" });
}

function startupEnvironment({
  startup_environment,
  run_in_shell,
}: SessionRequest): SessionSpec["startup_environment"] {
  return startup_environment ?? (run_in_shell === true ? "shell" : "none");
}
