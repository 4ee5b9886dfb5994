/**
 * Uses a kernel: starts it, reads output while code runs, answers an input request,
 * interrupts endless code, and reconnects later.
 *
 * With `KALLICHORE_URL` (including the token: `http://host:port?token=…`) it uses
 * that server; otherwise it starts its own.
 */
import { startServer } from "kallichore";
import { connect, createClient } from "kallichore/client";

const own = process.env.KALLICHORE_URL === undefined && (await startServer());
const url = process.env.KALLICHORE_URL ?? `${own.url}?token=${own.token}`;
const client = await connect({ url });

// Start a kernel by the name of its kernelspec. Default: the server's default kernel.
const session = await client.start(process.argv[2] ?? "python-wasm");

// Stream: events arrive one by one while the code runs.
for await (const event of session.execute(
  "for i in range(3): print('line', i)",
)) {
  if (event.type === "stream") process.stdout.write(event.text);
}

// Answer: the code waits for the answer.
const asking = session.execute("'Hello ' + input('Your name? ')");
for await (const event of asking) {
  if (event.type !== "input_request") continue;
  console.log(`${event.prompt}Ada`);
  await asking.answer("Ada");
}
console.log((await asking).result?.["text/plain"]);

// Interrupt: an error in the code is a result, not an exception.
const endless = session.execute("print('round and round')\nwhile True: pass");
for await (const event of endless) {
  if (event.type === "stream") await endless.interrupt();
}
const { status, error } = await endless;
console.log(status, error?.ename);

// Reconnect: the session is durable. A client that knows its id and the number of
// its last event gets all later events, once and in order.
const { last_seq } = await session.info();
client.close();

const later = createClient({ url });
const again = later.session(session.session_id);
await again.execute("x = 'still here'\nprint(x)");
for await (const event of again.events({ after: last_seq })) {
  if (event.kind !== "jupyter" || event.msg_type !== "stream") continue;
  process.stdout.write(event.content.text);
  break;
}

await again.shutdown();
await later.sessions.delete(session.session_id);
later.close();
if (own) await own[Symbol.asyncDispose]();
