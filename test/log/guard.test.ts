import { expect, test } from "vitest";
import { MockProvisioner } from "../../testing/provisioner.ts";
import { kernelspecsOf } from "../../testing/memory-service.ts";
import { Guard } from "../../src/log/guard.ts";
import { silentLog } from "../../src/log/log.ts";
import { openServer } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

test("what a callback throws is told, whatever the listener does with it", () => {
  const heard: unknown[] = [];
  const guard = new Guard(silentLog(), (error) => {
    heard.push(error.message);
    throw new Error("of the listener");
  });
  guard.around("a test", (text: string) => {
    throw new Error(text);
  })("first");
  guard.tell("no error at all", "a test");
  expect(heard).toEqual(["first", "no error at all"]);
});

test("a program that embeds the server hears of a bug of ours, and the server goes on", async () => {
  const heard: string[] = [];
  await using server = await openServer({
    provisioner: new MockProvisioner({ echo }),
    kernelspecs: {
      ...kernelspecsOf({ echo }, process.execPath),
      list: () => {
        throw new TypeError("put in by the test");
      },
    },
    onFault: (error) => heard.push(error.message),
  });
  const broken = await server.ask("GET", "/kernelspecs");
  expect(broken.status).toBe(500);
  expect(broken.body).toMatchObject({ reason: "internal" });
  expect(broken.text).not.toContain("put in by the test");
  expect(heard).toEqual(["put in by the test"]);
  expect((await server.ask("GET", "/sessions")).status).toBe(200);
});
