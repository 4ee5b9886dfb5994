import { expect, it, onTestFinished } from "vitest";
import { connect } from "../../client/index.ts";
import { mockKernel } from "../../testing/index.ts";
import { openServerOf, TOKEN } from "../harness.ts";

it("the open comms are listed, all or those of one target", async () => {
  const kernel = mockKernel({ comm: { "*": [] } });
  await using server = await openServerOf({ kernel });
  const client = await connect({ url: server.url, token: TOKEN });
  onTestFinished(() => client.close());
  await using session = await client.start("kernel");
  await using one = await session.comms.open("of-one");
  await using other = await session.comms.open("of-other");

  const ofOne = { [one.comm_id]: { target_name: "of-one" } };
  const ofOther = { [other.comm_id]: { target_name: "of-other" } };
  await expect // the kernel receives them after `open`
    .poll(() => session.comms.list(), { timeout: 20_000 })
    .toEqual({ ...ofOne, ...ofOther });
  expect(await session.comms.list("of-one")).toEqual(ofOne);
});
