/**
 * A small server: it attaches to the keeper of its state directory, starts a run
 * or goes on with it, and writes what the kernel says into a file before it
 * acknowledges it. Tests kill it. Its options are the only argument, as JSON.
 *
 * A line of the file is an event: its number, and the texts that it has printed.
 */
import { appendFileSync, readFileSync, truncateSync } from "node:fs";
import { compose, contentOf, type Message } from "../../src/jupyter/message.ts";
import { contentIn } from "../../src/jupyter/record.ts";
import { localKeeper } from "../../src/keeper/local-keeper.ts";
import { keptProvisioner } from "../../src/keeper/provisioner.ts";
import type { Recipe } from "../../src/kernel/kernel.ts";
import { Faults } from "../../src/log/faults.ts";
import { silentLog } from "../../src/log/log.ts";

export interface AttachingOptions {
  readonly stateDirectory: string;
  readonly runtime_directory: string;
  readonly entry: string;
  readonly secret: string;
  readonly epoch: number;
  readonly recipe: Recipe & { readonly run_id: string };
  /** The file. */
  readonly journal: string;
  /** Sent once the kernel has answered, always under the same `msg_id`. */
  readonly code: string;
  /** When it has written so many bytes, it is killed within the next milliseconds. Default: never. */
  readonly life_bytes?: number | undefined;
}

const DEATH_MS = 3;

export interface JournalLine {
  readonly number: number;
  readonly texts: readonly string[];
  readonly lost?: readonly [number, number];
  readonly exit?: unknown;
}

/** The complete lines of the file. A torn one is cut off. */
export function linesOf(path: string): JournalLine[] {
  const text = readFileSync(path, "utf8");
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
  return whole
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as JournalLine);
}

async function attach(options: AttachingOptions): Promise<void> {
  const { recipe, journal, code, life_bytes = Infinity, ...local } = options;
  let written = 0;
  const log = silentLog();
  const link = await localKeeper({ ...local, log, env: process.env });
  const provisioner = keptProvisioner({
    link,
    env: process.env,
    faults: new Faults(log),
  });
  const after = linesOf(journal).at(-1)?.number;
  let texts: string[] = [];
  let more: Partial<JournalLine> = {};
  const kernel = await provisioner.launch(
    { ...recipe, ...(after !== undefined && { resume: { after } }) },
    {
      launched() {},
      state() {},
      message(message) {
        if (message.header.msg_type === "stream") texts.push(textOf(message));
      },
      burst(burst) {
        for (let index = 0; index < burst.count; index += 1) {
          const { text } = JSON.parse(contentIn(burst, index).toString()) as {
            text: string;
          };
          texts.push(text);
        }
      },
      refused() {},
      tooLarge() {},
      caughtUp: () => undefined,
      output() {},
      registered() {},
      heartbeat() {},
      exited: (exit) => (more = { exit }),
      lost: (from, to) => (more = { lost: [from, to] }),
      noted(number) {
        const line: JournalLine = { number, texts, ...more };
        const json = `${JSON.stringify(line)}\n`;
        appendFileSync(journal, json);
        const isYoung = written < life_bytes;
        written += json.length;
        if (isYoung && written >= life_bytes) {
          setTimeout(
            () => process.kill(process.pid, "SIGKILL"),
            Math.random() * DEATH_MS,
          );
        }
        provisioner.acknowledge?.(recipe.run_id, number);
        texts = [];
        more = {};
      },
    },
    new AbortController().signal,
  );
  kernel.send(
    compose({
      channel: "shell",
      msg_type: "execute_request",
      content: { code },
      session: "attaching",
      username: "tester",
      msg_id: "the-only-request",
    }),
  );
  await kernel.exited;
}

function textOf(message: Message): string {
  return String(contentOf(message)?.["text"]);
}

const [, program = "", given] = process.argv;
if (program.endsWith("attaching.js") && given !== undefined) {
  await attach(JSON.parse(given) as AttachingOptions);
}
