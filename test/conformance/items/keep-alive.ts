/** Pings over time: the counter, clients that do not answer, and clients that never ping. These items are slow. */
import { equal, holds } from "../harness/check.ts";
import { KALLICHORE, group as outline } from "../harness/item.ts";
import { until } from "../harness/request.ts";
import { Session } from "../harness/session.ts";

export const group = outline<Session>({
  id: "PING",
  open: async (ground) => Session.started(await ground.start()),
  items: [
    {
      id: "PING-01",
      claim: "pings are sent every 10 s, counting up",
      source: KALLICHORE,
      mark: "same",
      slow: true,
      timeout_ms: 45_000,
      run: async (session) => {
        const channel = await session.channel();
        const ask = () => Promise.resolve(channel.pings.length);
        await until("three pings", ask, {
          holds: (n) => n >= 3,
          within_ms: 35_000,
        });
        const numbers = channel.pings.map((ping) =>
          Number(ping.readBigUInt64BE()),
        );
        equal(numbers.slice(0, 3), [1, 2, 3], "numbers");
        await channel.close();
      },
    },
    {
      id: "PING-02",
      claim:
        "a client that answers none of them is disconnected after three, about 40 s",
      source: KALLICHORE,
      mark: "same",
      slow: true,
      timeout_ms: 90_000,
      run: async (session) => {
        const channel = await session.channel({ autoPong: false });
        const ask = () => Promise.resolve(channel.isOpen());
        await until("the close", ask, {
          holds: (open) => !open,
          within_ms: 75_000,
        });
        holds(channel.pings.length >= 3, `after ${channel.pings.length} pings`);
      },
    },
  ],
});
