import { strictEqual } from "node:assert";
import { client } from "./generated/client.gen.ts";
import * as api from "./generated/index.ts";

const {
  KALLICHORE_URL: baseUrl = "",
  KALLICHORE_TOKEN: auth = "",
  KALLICHORE_KERNEL: kernel_name = "",
} = process.env;

client.setConfig({ baseUrl, auth, throwOnError: true });
const { data: created } = await api.sessionsCreate<true>({
  body: { kernel_name, session_id: "hey-api" },
});
const path = { session_id: created.session_id };
const { data: started } = await api.sessionsStart<true>({ path });
strictEqual(started.language_info.name, "python");
const { data: answer } = await api.sessionsExecute<true>({
  path,
  body: { code: "print('hello')\n1+1" },
});
const [stream, result] = answer.outputs;
if (stream?.output_type !== "stream") throw new Error("No stream");
if (result?.output_type !== "execute_result") throw new Error("No result");
strictEqual(stream.text, "hello\n");

const { data: run } = await api.executionsCreate<true>({
  path,
  body: { code: "1+1" },
});
const one = { ...path, execution_id: run.execution_id };
const { data: ended } = await api.executionsWait<true>({ path: one, body: {} });
strictEqual(ended.state, "done");
const { stream: events } = await api.executionsFollow({ path: one });
const kinds = new Set<unknown>();
for await (const event of events) {
  kinds.add((event as unknown as { kind: string }).kind);
  if (kinds.has("jupyter")) break;
}
const { data: kept } = await api.executionsOutputs<true>({ path: one });
strictEqual(kept.outputs[0]?.output_type, "execute_result");

await api.sessionsShutdown<true>({ path });
await api.sessionsDelete<true>({ path });
const { error } = await api.sessionsGet({ path, throwOnError: false });
strictEqual(error?.reason, "session_not_found");
console.log(result.data["text/plain"]);
process.exit(0); // an event stream that is left keeps its timer
