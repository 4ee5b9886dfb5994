/**
 * What a program does with a kernel: start one, hear what it says while it says
 * it, answer what it asks, stop what does not end, come back to it later.
 *
 * With `KALLICHORE_URL` (and the token in it: `http://host:port?token=…`) it
 * talks to the server there; without, to one of its own.
 */
import { startServer } from "kallichore";
import { connect, createClient } from "kallichore/client";

const own = process.env.KALLICHORE_URL === undefined && (await startServer());
const url = process.env.KALLICHORE_URL ?? `${own.url}?token=${own.token}`;
const client = await connect({ url });

// A kernel, by the name of its kernelspec; without a name, the server's default.
const session = await client.start(process.argv[2] ?? "python-wasm");

// Stream: what is said comes one by one, while the code runs.
for await (const said of session.execute(
  "for i in range(3): print('line', i)",
)) {
  if (said.type === "stream") process.stdout.write(said.text);
}

// Answer: the code waits for it.
const asking = session.execute("'Hello ' + input('Your name? ')");
for await (const said of asking) {
  if (said.type !== "input_request") continue;
  console.log(`${said.prompt}Ada`);
  await asking.answer("Ada");
}
console.log((await asking).result?.["text/plain"]);

// Interrupt: an error in the code is an outcome, not an exception.
const endless = session.execute("print('round and round')\nwhile True: pass");
for await (const said of endless) {
  if (said.type === "stream") await endless.interrupt();
}
const { status, error } = await endless;
console.log(status, error?.ename);

// Reconnect: the session is the durable thing. Whoever knows its id and the
// last number they saw hears what they missed, once and in order.
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
