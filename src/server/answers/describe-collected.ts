/**
 * The output of code in two forms, this server's and Kallichore's, for clients of either.
 *
 * Both in full would contain everything twice. So Kallichore's form has only
 * what fits into a limit, and a field that says whether something is missing.
 */
import type { contract, InputOf, Output } from "../../../contract/index.ts";
import { truncate } from "../../../contract/truncate.ts";
import { limits } from "../../../contract/limits.ts";
import { RawJson, stringify } from "../../jupyter/raw-json.ts";
import type { Collected } from "../../session/executions/collect.ts";
import { isLarge } from "./large-answer.ts";

type ExecuteOutput = InputOf<typeof contract.sessions.execute.output>;
type KallichoreOutput = ExecuteOutput["output"][number];
type Data = Readonly<Record<string, unknown>>;

export function describeCollected(
  { reply, ...collected }: Collected,
  limit: number = limits.repeated_output_characters,
): ExecuteOutput {
  const { outputs, status } = collected;
  const result = outputs.findLast(
    (output) => output.output_type === "execute_result",
  );
  const budget = new CharacterBudget(limit);
  // The result and the errors first: clients need them most.
  const data = result && textsIn(result.data, budget);
  const errors = new Map(
    outputs
      .filter((output) => output.output_type === "error")
      .filter((output) => budget.take(JSON.stringify(output).length))
      .map((output) => [output as Output, failureIn(output)]),
  );
  const toKallichore = (output: Output): KallichoreOutput[] => {
    const failed = errors.get(output);
    if (failed !== undefined) return [{ type: "error", ...failed }];
    return toKallichoreOutputs(output, budget);
  };
  return {
    ...collected,
    output: outputs.flatMap(toKallichore),
    ...(data !== undefined && { data }),
    output_is_clipped: budget.wasExceeded,
    ...(status !== "ok" && failureIn(reply)),
  };
}

/** A stream or a display, as far as the limit allows. The result and errors are handled elsewhere. */
function toKallichoreOutputs(
  output: Output,
  budget: CharacterBudget,
): KallichoreOutput[] {
  switch (output.output_type) {
    case "stream": {
      const text = budget.takeBeginning(output.text);
      const isLeftOut = text.length < Math.min(1, output.text.length);
      const { name: stream_name } = output;
      return isLeftOut ? [] : [{ type: "stream", stream_name, text }];
    }
    case "display_data": {
      const { metadata } = output;
      const isShown = isLarge(metadata)
        ? budget.take(Infinity)
        : budget.take(stringify(metadata).length);
      if (!isShown) return [];
      const data = textsIn(output.data, budget);
      const isLeftOut =
        Object.keys(data).length < Math.min(1, Object.keys(output.data).length);
      return isLeftOut ? [] : [{ type: "display_data", data, metadata }];
    }
    case "execute_result":
    case "error":
      return [];
  }
}

/** The fields that the kernel sent; kernels leave out what they do not know. */
function failureIn({ ename, evalue, traceback }: Record<string, unknown>) {
  return {
    ...(typeof ename === "string" && { error_name: ename }),
    ...(typeof evalue === "string" && { error_message: evalue }),
    ...(Array.isArray(traceback) && {
      error_traceback: traceback.filter((line) => typeof line === "string"),
    }),
  };
}

/** The texts by MIME type, as far as the limit allows. */
function textsIn(data: Data, budget: CharacterBudget): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [type, value] of Object.entries(data)) {
    const length =
      value instanceof RawJson
        ? value.bytes.length
        : typeof value === "string"
          ? value.length
          : 0;
    if (!budget.take(type.length + length)) continue;
    texts[type] = typeof value === "string" ? value : stringify(value);
  }
  return texts;
}

/** What is left of the limit for Kallichore's form. */
class CharacterBudget {
  #left: number;
  /** Whether something did not fit. */
  wasExceeded = false;

  /** `limit`: UTF-16 units, or bytes for raw JSON. */
  constructor(limit: number) {
    this.#left = limit;
  }

  take(length: number): boolean {
    const fits = length <= this.#left;
    if (fits) this.#left -= length;
    else this.wasExceeded = true;
    return fits;
  }

  /** As much of a text as fits, without half a surrogate pair. */
  takeBeginning(text: string): string {
    if (this.take(text.length)) return text;
    const beginning = truncate(text, this.#left);
    this.#left = 0;
    return beginning;
  }
}
