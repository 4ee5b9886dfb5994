/** A place for a real keeper and its kernels, and what a test knows of the witness in it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { isAlive } from "../../src/host/process-table.ts";
import { compose, contentOf } from "../../src/jupyter/message.ts";
import { contentIn } from "../../src/jupyter/record.ts";
import { localHost } from "../../src/host/local.ts";
import { RuntimeFiles } from "../../src/host/runtime-files.ts";
import { keeperFileIn, readKeeperFile } from "../../src/keeper/keeper-file.ts";
import type { KeeperLink } from "../../src/keeper/link.ts";
import {
  localKeeper,
  type LocalKeeperOptions,
} from "../../src/keeper/local-keeper.ts";
import { keptProvisioner } from "../../src/keeper/provisioner.ts";
import type { Hooks, Kernel, Recipe } from "../../src/kernel/kernel.ts";
import { hostProvisioner } from "../../src/kernel/provisioner.ts";
import { limitingRunTime } from "../../src/kernel/run-time.ts";
import { Faults } from "../../src/log/faults.ts";
import { silentLog } from "../../src/log/log.ts";
import { transportOf } from "../../src/zmq/transport-of.ts";
import { eventually } from "../harness.ts";
import { argvOf, type TestKernel } from "../kernels/index.ts";
import { RECIPE, runId } from "./keepers.ts";
import { programOf } from "./programs.ts";
import { recordingHooks } from "./recording-hooks.ts";

const log = silentLog();
export const SECRET = "the-secret-of-the-state";

/** A state directory and a runtime directory; what is left of its keeper is ended after the test. */
export class Place {
  readonly folder = mkdtempSync("/tmp/kc-keep-"); // short enough for sockets
  readonly stateDirectory = join(this.folder, "state");
  readonly runtime_directory = join(this.folder, "run");
  readonly record = join(this.folder, "record");

  constructor() {
    mkdirSync(this.runtime_directory);
    writeFileSync(this.record, "");
    onTestFinished(async () => {
      const pid = this.keeperPid;
      if (pid !== undefined && isAlive(pid)) {
        process.kill(pid, "SIGTERM");
        await eventually("the keeper's end", () =>
          isAlive(pid) ? undefined : true,
        );
      }
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  get keeperPid(): number | undefined {
    return readKeeperFile(keeperFileIn(this.stateDirectory))?.pid;
  }

  options(epoch: number): LocalKeeperOptions {
    const { stateDirectory, runtime_directory } = this;
    const entry = programOf("keeper");
    const shared = { stateDirectory, runtime_directory, entry, log };
    return { ...shared, env: process.env, epoch, secret: SECRET };
  }

  async keeper(epoch = 1): Promise<KeeperLink> {
    const link = await localKeeper(this.options(epoch));
    onTestFinished(() => link.close());
    return link;
  }

  recipe(
    kernel: TestKernel,
    more: Partial<Recipe> = {},
  ): Recipe & { readonly run_id: string } {
    return {
      ...RECIPE,
      argv: argvOf(kernel),
      language: "echo",
      working_directory: this.folder,
      key: "the kernel's key",
      env: [
        {
          action: "replace",
          name: "WITNESS_FILE",
          value: this.record,
        } as const,
      ],
      ...more,
      run_id: more.run_id ?? runId(1),
    };
  }
}

export async function start(
  link: KeeperLink,
  recipe: Recipe,
  hooks: Hooks,
): Promise<Kernel> {
  const faults = new Faults(log);
  const provisioner = keptProvisioner({ link, env: process.env, faults });
  const { signal } = new AbortController();
  return provisioner.launch(recipe, hooks, signal);
}

export function execute(text: string, msg_id: string) {
  return compose({
    channel: "shell",
    msg_type: "execute_request",
    content: { code: text },
    session: "tester",
    username: "tester",
    msg_id,
  });
}

/** The numbers of the witness's lines, `<n>:<padding>`. */
export function counted(texts: readonly string[]): number[] {
  return texts.map((text) => Number(/^(\d+):x*$/.exec(text)?.[1]));
}

export function range(to: number): number[] {
  return Array.from({ length: to }, (_, index) => index + 1);
}

/** Hooks that collect what the witness prints, and the numbers of its events. */
export function collecting() {
  const texts: string[] = [];
  const noted: number[] = [];
  const { hooks, calls } = recordingHooks();
  const collected: Hooks = {
    ...hooks,
    message(message) {
      if (message.header.msg_type !== "stream") return;
      texts.push(String(contentOf(message)?.["text"]));
    },
    burst(burst) {
      for (let index = 0; index < burst.count; index += 1) {
        const content = contentIn(burst, index).toString();
        texts.push((JSON.parse(content) as { text: string }).text);
      }
    },
    noted: (number) => noted.push(number),
  };
  return { texts, noted, calls, hooks: collected };
}

/** A running kernel, and what it prints. */
export interface Started extends ReturnType<typeof collecting> {
  readonly place: Place;
  readonly kernel: Kernel;
}

/** The witness in a keeper. */
export async function inKeeper(more: Partial<Recipe> = {}): Promise<Started> {
  const place = new Place();
  const link = await place.keeper();
  const collected = collecting();
  const kernel = await start(
    link,
    place.recipe("witness", more),
    collected.hooks,
  );
  return { place, kernel, ...collected };
}

/** The witness in this process's own tree. */
export async function inOwnTree(more: Partial<Recipe> = {}): Promise<Started> {
  const place = new Place();
  const files = new RuntimeFiles(place.runtime_directory);
  const faults = new Faults(log);
  const own = hostProvisioner({
    host: localHost({ files, log, env: process.env }),
    transport: transportOf(undefined),
    log,
    faults,
    sockets: "tcp",
  });
  const provisioner = limitingRunTime(own, faults);
  const collected = collecting();
  const { signal } = new AbortController();
  const recipe = { ...place.recipe("witness", more), run_id: undefined };
  const kernel = await provisioner.launch(recipe, collected.hooks, signal);
  onTestFinished(async () => {
    await kernel.stop(false);
    files[Symbol.dispose]();
  });
  return { place, kernel, ...collected };
}
