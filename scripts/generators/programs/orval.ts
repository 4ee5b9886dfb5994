import { strictEqual } from "node:assert";
import * as api from "./generated.ts";

const {
  KALLICHORE_URL: url = "",
  KALLICHORE_TOKEN: token = "",
  KALLICHORE_KERNEL: kernel_name = "",
} = process.env;

/** Orval generates addresses without a server. The program adds the server and the token. */
const { fetch } = globalThis;
globalThis.fetch = (path, init) =>
  fetch(url + String(path), {
    ...init,
    headers: {
      ...(init?.headers as Record<string, string>),
      authorization: `Bearer ${token}`,
    },
  });

const created = await api.sessionsCreate({ kernel_name, session_id: "orval" });
if (created.status !== 200) throw new Error(created.data.message);
const { session_id } = created.data;
const started = await api.sessionsStart(session_id);
if (started.status !== 200) throw new Error(JSON.stringify(started.data));
strictEqual(started.data.language_info.name, "python");
const answer = await api.sessionsExecute(session_id, {
  code: "print('hello')\n1+1",
});
if (answer.status !== 200) throw new Error(answer.data.message);
const [stream, result] = answer.data.outputs;
if (stream?.output_type !== "stream") throw new Error("No stream");
if (result?.output_type !== "execute_result") throw new Error("No result");
strictEqual(stream.text, "hello\n");

const run = await api.executionsCreate(session_id, { code: "1+1" });
if (run.status !== 201) throw new Error(run.data.message);
const { execution_id } = run.data;
const ended = await api.executionsWait(session_id, execution_id, {});
strictEqual(ended.status === 200 && ended.data.state, "done");
const kept = await api.executionsOutputs(session_id, execution_id);
if (kept.status !== 200) throw new Error(kept.data.message);
strictEqual(kept.data.outputs[0]?.output_type, "execute_result");

strictEqual((await api.sessionsShutdown(session_id)).status, 200);
strictEqual((await api.sessionsDelete(session_id)).status, 200);
const gone = await api.sessionsGet(session_id);
strictEqual(gone.status === 404 && gone.data.reason, "session_not_found");
console.log(result.data["text/plain"]);
