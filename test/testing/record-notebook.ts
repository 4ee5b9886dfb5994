/** Records `notebook.ndjson` again, from the Python of `VIRTUAL_ENV`: `npx tsx test/testing/record-notebook.ts`. */
import { writeFileSync } from "node:fs";
import { connect } from "../../client/index.ts";
import { startServer } from "../../src/serve.ts";
import { countingIds, record } from "../../testing/index.ts";
import { visit } from "./notebook.ts";

await using server = await startServer({ resourceSampleIntervalMs: 0 });
await using client = await connect({
  url: server.url ?? "",
  token: server.token,
});
await using session = await client.start("python3");
const events = await visit(session, countingIds("recorded-comm"));
const { kernel_info } = await session.info();
const lines: string[] = [];
for await (const line of record(events, { kernel_info })) lines.push(line);
writeFileSync(
  new URL("notebook.ndjson", import.meta.url),
  `${lines.join("\n")}\n`,
);
