/**
 * A request with many calls. The adapter begins all calls of a request in one
 * step, and encodes all their answers in one step. So it gets such a request in
 * portions, in turn with other requests. All calls run at the same time, as in a
 * small batch, and one answer holds the answers of all portions.
 */
import type { ServerResponse } from "node:http";
import { requestScheduler } from "../../../time/request-scheduler.ts";

/** Calls of one portion. */
const CALLS_AT_ONCE = 50;

/** The procedures of a request, in portions; `undefined` if one portion is enough. */
export function portionsOf(
  procedures: string,
): readonly (readonly string[])[] | undefined {
  const paths = procedures.split(",");
  if (paths.length <= CALLS_AT_ONCE) return undefined;
  return Array.from(
    { length: Math.ceil(paths.length / CALLS_AT_ONCE) },
    (_, at) => paths.slice(at * CALLS_AT_ONCE, (at + 1) * CALLS_AT_ONCE),
  );
}

/** Runs each portion, with the index of its first call, and sends the answers. */
export async function answerPortions(
  res: ServerResponse,
  portions: readonly (readonly string[])[],
  run: (paths: readonly string[], first: number) => Promise<Response>,
): Promise<void> {
  const fairSchedule = requestScheduler.queue();
  const answers = await Promise.all(
    portions.map(async (paths, at) => {
      await fairSchedule();
      const answer = await run(paths, at * CALLS_AT_ONCE);
      return { answer, body: await answer.text() };
    }),
  );
  const [first] = answers;
  if (first === undefined) return;
  const statuses = new Set(answers.map(({ answer }) => answer.status));
  res.statusCode = statuses.size === 1 ? first.answer.status : 207;
  for (const [name, value] of first.answer.headers) res.setHeader(name, value);
  if (!first.body.startsWith("[")) {
    res.end(Buffer.from(first.body)); // the request is refused, in each portion alike
    return;
  }
  for (const [at, { body }] of answers.entries()) {
    await fairSchedule();
    res.write(Buffer.from(`${at === 0 ? "[" : ","}${body.slice(1, -1)}`));
  }
  res.end("]");
}
