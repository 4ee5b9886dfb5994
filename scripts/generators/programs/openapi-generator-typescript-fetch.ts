import { strictEqual } from "node:assert";
import {
  Configuration,
  ExecutionsApi,
  ResponseError,
  ServerApi,
  SessionsApi,
} from "./index";

const {
  KALLICHORE_URL: basePath = "",
  KALLICHORE_TOKEN: accessToken = "",
  KALLICHORE_KERNEL: kernel_name = "",
} = process.env;

async function main(): Promise<void> {
  const configuration = new Configuration({ basePath, accessToken });
  const sessions = new SessionsApi(configuration);
  const executions = new ExecutionsApi(configuration);
  const { session_id: sessionId } = await sessions.sessionsCreate({
    newSession: { kernel_name, session_id: "generated-fetch" },
  });
  const started = await sessions.sessionsStart({ sessionId });
  strictEqual(started.language_info.name, "python");

  const answer = await sessions.sessionsExecute({
    sessionId,
    sessionsExecuteBody: { code: "print('hello')\n1+1" },
  });
  const [stream, result] = answer.outputs;
  if (stream?.output_type !== "stream") throw new Error("No stream");
  if (result?.output_type !== "execute_result") throw new Error("No result");
  strictEqual(stream.text, "hello\n");

  const { execution_id: executionId } = await executions.executionsCreate({
    sessionId,
    executionsCreateBody: { code: "1+1" },
  });
  const ended = await executions.executionsWait({ sessionId, executionId });
  strictEqual(ended.state, "done");
  const kept = await executions.executionsOutputs({ sessionId, executionId });
  strictEqual(kept.outputs[0]?.output_type, "execute_result");

  const described = await sessions.sessionsGet({ sessionId });
  strictEqual(described.kernel_name, kernel_name);
  const snapshot = await sessions.sessionsSnapshot({ sessionId });
  strictEqual(snapshot.execution, null);
  const set = await new ServerApi(configuration).serverConfiguration();
  strictEqual(typeof set.limits, "object");

  strictEqual(await sessions.sessionsShutdown({ sessionId }), undefined);
  strictEqual(await sessions.sessionsDelete({ sessionId }), undefined);
  const gone = await sessions
    .sessionsGet({ sessionId })
    .catch((error: unknown) => error);
  strictEqual((gone as ResponseError).response.status, 404);
  console.log(result.data["text/plain"]);
}

void main();
