import { expect, test } from "vitest";
import { Entries } from "../../src/journal/entries.ts";
import { Entry } from "../../src/journal/entry.ts";
import type { SubscriptionItem } from "../../src/server/answers/subscription.ts";
import { relay } from "../../src/server/relay.ts";

/** The frames for the owner of a channel, and the requests for acknowledgements, when these events are sent one after the other. `limit`: the connection is being closed after so many of both. */
async function relayed(
  kinds: readonly string[],
  limit = Infinity,
): Promise<string[]> {
  const did: string[] = [];
  const reported = kinds.map((kind, at): SubscriptionItem => {
    const json = Buffer.from(JSON.stringify({ kind, seq: at + 1 }));
    const entries = Entries.of(Entry.ofEncodedEvent(at + 1, kind, json));
    return { journal_id: "j", reading: { entries } };
  });
  await relay(
    (async function* () {
      for (const each of reported) yield await Promise.resolve(each);
    })(),
    {
      codec: {
        encode({ reading }, put) {
          if ("entries" in reading) put([], reading.entries.last, 1);
        },
      },
      sink: {
        add() {},
        flush() {},
        batch: (send) => send(),
        drained: () => Promise.resolve(true),
        get isOpen() {
          return did.length < limit;
        },
      },
      owner: {
        sent: (seq) => did.push(`sent ${seq}`),
        requestAcknowledgement: () => did.push("ask"),
      },
    },
  );
  return did;
}

test("an acknowledgement is requested from an owner", async () => {
  expect(await relayed(["status"])).toEqual(["sent 1", "ask"]);
});

test("no acknowledgement is requested for a usage sample alone", async () => {
  expect(await relayed(["resource_usage", "resource_usage", "exited"])).toEqual(
    ["sent 1", "sent 2", "sent 3", "ask"],
  );
});

test("what comes when the connection is being closed does not count as sent", async () => {
  expect(await relayed(["status", "exited"], 2)).toEqual(["sent 1", "ask"]);
});
