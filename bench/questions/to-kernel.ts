/** Processor time of the server for each message of a client to a kernel, by the channel. */
import { floodKernel } from "../harness/kernel.ts";
import { settled } from "../harness/process.ts";
import type { Figures, Question } from "../harness/question.ts";
import { type Reader, Readers } from "../harness/readers.ts";
import { messageOf, type Server, serversOf } from "../harness/server.ts";

const CASES = [
  { name: "300 B", count: 20_000, size: 300 },
  { name: "10 kB", count: 5_000, size: 10_000 },
];
const REPLY_BYTES = 20_000; // the least size of the publisher's reply with the count
const ENVELOPE = 230; // bytes of such a message without its data

export const question: Question = {
  asks: "What does it cost to relay one message from a client to a kernel?",
  async run(bench) {
    await using readers = new Readers();
    await using servers = await serversOf(bench.options, {
      jupyter: true,
      args: ["--resource-sample-interval", "0"],
    });
    for (const { name, count, size } of CASES) {
      const times = Math.ceil(count * bench.options.scale);
      await bench.compare(
        name,
        servers.list.map((server) => ({
          name: server.name,
          run: () =>
            sent(server, readers.of("channel", server), { times, size }),
        })),
      );
    }
  },
};

async function sent(
  server: Server,
  reader: Reader,
  { times, size }: { readonly times: number; readonly size: number },
): Promise<Figures> {
  await using session = await server.start(floodKernel());
  await reader.attach("channel", session);
  const data = "x".repeat(size - ENVELOPE);
  const message = messageOf("comm_msg", { comm_id: "c", data });
  const header = { ...message.header, msg_id: "bench-comm-NUMBER" };
  const text = JSON.stringify({ ...message, header });
  const requestHeader = {
    ...messageOf("comm_info_request", {}).header,
    msg_id: "bench-request-NUMBER",
  };
  const request = JSON.stringify({
    ...messageOf("comm_info_request", {}),
    header: requestHeader,
  });
  let cost = NaN;
  for (const many of [Math.ceil(times / 10), times]) {
    const before = await settled(server.pid);
    await reader.receive({ count: 1, least: REPLY_BYTES }, [
      { text, times: many },
      { text: request, times: 1 },
    ]);
    cost = ((await settled(server.pid)) - before) / many;
  }
  await reader.detach();
  return { "server µs": cost };
}
