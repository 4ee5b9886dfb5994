/** What code said, in our words and in Kallichore's, for clients of either. */
import type { contract, InputOf, Output } from "../../../contract/index.ts";
import { stringify } from "../../jupyter/raw-json.ts";
import type { Collected } from "../../session/executions/collect.ts";

type ExecuteOutput = InputOf<typeof contract.sessions.execute.output>;
type Spelled = ExecuteOutput["output"][number];

export function describeCollected({
  reply,
  ...collected
}: Collected): ExecuteOutput {
  const { outputs, status } = collected;
  const result = outputs.findLast(
    (output) => output.output_type === "execute_result",
  );
  return {
    ...collected,
    output: outputs.flatMap(spelled),
    ...(result !== undefined && { data: texts(result.data) }),
    ...(status !== "ok" && failureIn(reply)),
  };
}

function spelled(output: Output): Spelled[] {
  switch (output.output_type) {
    case "stream":
      return [{ type: "stream", stream_name: output.name, text: output.text }];
    case "display_data": {
      const { data, metadata } = output;
      return [{ type: "display_data", data: texts(data), metadata }];
    }
    case "error":
      return [{ type: "error", ...failureIn(output) }];
    case "execute_result":
      return []; // it is the answer's own
  }
}

/** As far as it is told; kernels leave out what they do not know. */
function failureIn({ ename, evalue, traceback }: Record<string, unknown>) {
  return {
    ...(typeof ename === "string" && { error_name: ename }),
    ...(typeof evalue === "string" && { error_message: evalue }),
    ...(Array.isArray(traceback) && {
      error_traceback: traceback.filter((line) => typeof line === "string"),
    }),
  };
}

function texts(
  data: Readonly<Record<string, unknown>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data).map(([type, value]) => [
      type,
      typeof value === "string" ? value : stringify(value),
    ]),
  );
}
