/** A display that other code updates while the code that published it still runs. */
import { expect, it, onTestFinished } from "vitest";
import { connect } from "../../client/index.ts";
import {
  background,
  display,
  input,
  mockKernel,
  update,
} from "../../testing/index.ts";
import { openServerOf, TOKEN } from "../harness.ts";

it("outputs have the update of a display by other code before its own code ended", async () => {
  let change = () => {};
  const isToChange = new Promise<void>((resolve) => (change = resolve));
  const kernel = mockKernel({
    on: {
      thread: background(async ({ perform }) => {
        await isToChange;
        await perform(update("the-display", "last"));
      }),
      show: [display("first", { display_id: "the-display" }), input("go on?")],
    },
  });
  await using server = await openServerOf({ kernel });
  const client = await connect({ url: server.url, token: TOKEN });
  onTestFinished(() => client.close());
  await using session = await client.start("kernel");
  await session.execute("thread");
  const showing = session.execute("show");
  for await (const { type } of showing) {
    if (type !== "input_request") continue;
    change();
    for await (const event of session.events({ after: 0 })) {
      if (event.kind !== "jupyter") continue;
      if (event.msg_type === "update_display_data") break;
    }
    await showing.answer("yes");
  }
  expect((await showing).outputs).toMatchObject([
    { data: { "text/plain": "last" } },
  ]);
});
