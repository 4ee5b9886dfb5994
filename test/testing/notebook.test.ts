/** A notebook with pictures and widgets, recorded from a real Python and replayed: its front end receives the same. */
import { execFileSync } from "node:child_process";
import { createReadStream, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { connect, type SessionEvent } from "../../client/index.ts";
import type { SessionEvent as WireEvent } from "../../contract/index.ts";
import {
  countingIds,
  type MockKernel,
  openRecording,
  readRecording,
  record,
  replay,
  testServer,
} from "../../testing/index.ts";
import { openServer, TOKEN } from "../harness.ts";
import { pythonWithIpykernel } from "../kernels/python.ts";
import { visit } from "./notebook.ts";
import { needs } from "../needs.ts";

/** Written by `npx tsx test/testing/record-notebook.ts`. */
const FIXTURE = fileURLToPath(new URL("notebook.ndjson", import.meta.url));

/** The parts of events that are the same in each run. Ids of requests are numbered in the order of their first use; `chosen` is the prefix of the ids that the front end chose. */
function comparable(
  events: readonly (SessionEvent | WireEvent)[],
  chosen: string,
): unknown {
  const names = new Map<string, string>();
  for (const event of events) {
    if (event.kind !== "jupyter" || event.parent_header === null) continue;
    const { msg_id } = event.parent_header;
    if (!names.has(msg_id)) names.set(msg_id, `request ${names.size}`);
  }
  const messages = events.flatMap((event) => {
    if (event.kind !== "jupyter" && event.kind !== "other") return [];
    const { channel, header, parent_header, metadata, content } = event;
    const { msg_type, version } = header;
    const buffers = event.buffers.map((buffer) =>
      typeof buffer === "string"
        ? buffer
        : Buffer.from(buffer).toString("base64"),
    );
    const parent = parent_header?.msg_id;
    return [{ channel, msg_type, version, parent, metadata, content, buffers }];
  });
  const statuses = events.flatMap((event) =>
    event.kind === "status" ? [[event.status, event.reason]] : [],
  );
  let text = JSON.stringify({ messages, statuses });
  for (const [id, name] of names) text = text.replaceAll(id, name);
  return JSON.parse(text.replaceAll(chosen, "chosen"));
}

async function visitReplayed(kernel: MockKernel): Promise<SessionEvent[]> {
  await using server = await testServer({
    listen: true,
    kernels: { python3: kernel },
  });
  await using client = await connect({ url: server.url });
  await using session = await client.start("python3");
  return await visit(session, countingIds("replayed-comm"));
}

test("a recorded notebook, replayed, gives the same events", async () => {
  const { events } = readRecording(readFileSync(FIXTURE, "utf8"));
  const text = () => createReadStream(FIXTURE, "utf8");

  const received = await visitReplayed(replay(await openRecording(text)));

  expect(comparable(received, "replayed-comm")).toEqual(
    comparable([...(events() as WireEvent[])], "recorded-comm"),
  );
});

test(
  "ipykernel, matplotlib and ipywidgets, recorded and replayed, give the same events as the first time",
  needs(hasWidgets(), "a Python with ipykernel, matplotlib and ipywidgets"),
  async () => {
    await using server = await openServer({ resourceSampleIntervalMs: 0 });
    await using client = await connect({ url: server.url, token: TOKEN });
    await using session = await client.start("python3");
    const received = await visit(session, countingIds("first-comm"));
    const { kernel_info, last_seq } = await session.info();
    const lines: string[] = [];
    const kept = upTo(last_seq, session.events({ after: 0 }));
    for await (const line of record(kept, { kernel_info })) lines.push(line);

    const again = await visitReplayed(replay(lines));

    expect(comparable(again, "replayed-comm")).toEqual(
      comparable(received, "first-comm"),
    );
  },
);

async function* upTo(last: number, events: AsyncIterable<SessionEvent>) {
  for await (const event of events) {
    yield event;
    if (event.seq === last) return;
  }
}

/** Whether the packages that the notebook needs besides ipykernel are installed. */
function hasWidgets(): boolean {
  if (pythonWithIpykernel === undefined) return false;
  try {
    const code = "import matplotlib, ipywidgets";
    execFileSync(pythonWithIpykernel, ["-c", code], { stdio: "ignore" });
    return true;
  } catch {
    return false; // a package is missing
  }
}
