/** A session whose queue is full refuses with the reason, over every protocol that answers. `session/promises.test.ts` tests how many may wait. */
import { expect, test, vi } from "vitest";
import { testServer } from "../../testing/index.ts";
import { echo } from "../kernels/echo-script.ts";

test("an execution beyond the limit is refused with the reason over REST and tRPC", async () => {
  await using server = await testServer({ kernels: { echo } });
  const { session_id } = await server.trpc.sessions.create.mutate({
    kernel_name: "echo",
  });
  await server.trpc.sessions.start.mutate({ session_id });
  const { queue } = server.supervisor.session(session_id);
  vi.spyOn(queue, "isFull", "get").mockReturnValue(true);

  const code = "hello";
  const header = { msg_id: "one more", msg_type: "execute_request" };
  for (const [path, body] of [
    ["executions", { code }],
    ["execute", { code }],
    ["messages", { channel: "shell", header, content: { code } }],
  ] as const) {
    const answer = await server.fetch(`/sessions/${session_id}/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    expect(answer.status, path).toBe(429);
    expect(await answer.json(), path).toMatchObject({ reason: "too_busy" });
  }
  await expect(
    server.trpc.executions.create.mutate({ session_id, code }),
  ).rejects.toMatchObject({ data: { failure: { reason: "too_busy" } } });
});
