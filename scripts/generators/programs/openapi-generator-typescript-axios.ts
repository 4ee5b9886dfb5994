import { strictEqual } from "node:assert";
import { Configuration, ExecutionsApi, ServerApi, SessionsApi } from "./index";

const {
  KALLICHORE_URL: basePath = "",
  KALLICHORE_TOKEN: accessToken = "",
  KALLICHORE_KERNEL: kernel_name = "",
} = process.env;

async function main(): Promise<void> {
  const configuration = new Configuration({ basePath, accessToken });
  const sessions = new SessionsApi(configuration);
  const executions = new ExecutionsApi(configuration);
  const created = await sessions.sessionsCreate({
    kernel_name,
    session_id: "generated-axios",
  });
  const { session_id } = created.data;
  const started = await sessions.sessionsStart(session_id);
  strictEqual(started.data.language_info.name, "python");

  const { data: answer } = await sessions.sessionsExecute(session_id, {
    code: "print('hello')\n1+1",
  });
  const [stream, result] = answer.outputs;
  if (stream?.output_type !== "stream") throw new Error("No stream");
  if (result?.output_type !== "execute_result") throw new Error("No result");
  strictEqual(stream.text, "hello\n");

  const run = await executions.executionsCreate(session_id, { code: "1+1" });
  const { execution_id } = run.data;
  const ended = await executions.executionsWait(session_id, execution_id);
  strictEqual(ended.data.state, "done");
  const kept = await executions.executionsOutputs(session_id, execution_id);
  strictEqual(kept.data.outputs[0]?.output_type, "execute_result");

  const described = await sessions.sessionsGet(session_id);
  strictEqual(described.data.kernel_name, kernel_name);
  const snapshot = await sessions.sessionsSnapshot(session_id);
  strictEqual(snapshot.data.execution, null);
  const set = await new ServerApi(configuration).serverConfiguration();
  strictEqual(typeof set.data.limits, "object");

  strictEqual((await sessions.sessionsShutdown(session_id)).status, 200);
  strictEqual((await sessions.sessionsDelete(session_id)).status, 200);
  const gone = await sessions
    .sessionsGet(session_id)
    .catch((error: { response: { data: unknown } }) => error.response.data);
  strictEqual((gone as { reason: string }).reason, "session_not_found");
  console.log(result.data["text/plain"]);
}

void main();
