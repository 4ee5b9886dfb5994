/**
 * A request with many calls. The adapter begins all calls of a request in one
 * go, and spells all their answers in one go; so it gets such a request in
 * portions, in turn with the requests of others. All calls run at the same
 * time, as in a small batch, and one answer holds what all portions answered.
 */
import type { ServerResponse } from "node:http";
import { requestScheduler } from "../../../time/request-scheduler.ts";

/** Calls of one portion. */
const CALLS_AT_ONCE = 50;

/** The procedures of a request, in portions; `undefined` where they are not too many for one. */
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

/** Asks for each portion, which gets the place of its first call, and sends what is answered. */
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
    res.end(Buffer.from(first.body)); // the request is refused, and each portion says so
    return;
  }
  for (const [at, { body }] of answers.entries()) {
    await fairSchedule();
    res.write(Buffer.from(`${at === 0 ? "[" : ","}${body.slice(1, -1)}`));
  }
  res.end("]");
}
