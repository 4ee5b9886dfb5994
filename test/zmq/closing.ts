/** A process that opens links, with and without a peer, closes them, and must then exit. */
import { Router } from "zeromq";
import { libzmq } from "../../src/zmq/libzmq.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";

const driver = [zmtp, libzmq].find(({ name }) => name === process.argv[2]);
if (driver === undefined) throw new Error(`no driver ${process.argv[2] ?? ""}`);

const router = new Router({ linger: 0 });
await router.bind("tcp://127.0.0.1:*");
const onMessages = (): void => {};
const alone = driver.connect({
  type: "dealer",
  endpoint: "tcp://127.0.0.1:1",
  onMessages,
});
alone.send([Buffer.from("to nobody")]);
const link = driver.connect({
  type: "dealer",
  endpoint: router.lastEndpoint ?? "",
  onMessages,
});
link.send([Buffer.from("hello")]);
await router.receive();
link.send([Buffer.alloc(100_000_000)]); // more than can be sent at once
link.close();
alone.close();
router.close();
process.disconnect();
