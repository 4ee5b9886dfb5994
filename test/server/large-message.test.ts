/** One message that is larger than the memory of a journal and of all journals. */
import { expect, test } from "vitest";
import { doors } from "../doors.ts";
import { openServer } from "../harness.ts";

test("a late client receives a message larger than the journal's memory completely", async () => {
  const MIB = 1024 * 1024;
  await using server = await openServer({
    limits: { journal_memory_bytes: MIB, server_memory_bytes: 2 * MIB },
  });
  const session = await server.start("echo");
  const path = `/sessions/${session}/execute`;
  const { body } = await server.ask("POST", path, { code: `large ${8 * MIB}` });
  expect(body).toMatchObject({ status: "ok", gaps: [] });
  await server.ask("POST", path, { code: "after" });
  const { msg_id } = body as { msg_id: string };
  for (const door of doors) {
    await using client = await door.attach(server, session);
    await client.over(msg_id);
    expect(client.received.filter(({ kind }) => kind === "gap")).toEqual([]);
    const [display] = client
      .messagesFor(msg_id)
      .filter(({ header }) => header?.msg_type === "display_data");
    const [buffer = ""] = display?.buffers ?? [];
    expect(Buffer.from(buffer, "base64").length).toBe(8 * MIB);
  }
});
