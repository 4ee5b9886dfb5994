/** Server configuration: partial changes, limits, and the reported values. */
import { at, equal, holds, keys, shown } from "../harness/check.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item } from "../harness/item.ts";
import { until } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";

interface World {
  readonly server: Server;
}

export const group = outline<World>({
  id: "CONF",
  needsKernels: false,
  open: async (ground) => ({ server: await ground.start() }),
  items: [
    {
      id: "CONF-01",
      claim:
        "without options: the interval is 1000, idle_shutdown_hours is omitted",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const { status, body } = await server.request(
          "GET",
          "/server_configuration",
        );
        equal(status, 200, "status code");
        equal(at(body, "resource_sample_interval_ms"), 1_000, "interval");
        holds(!keys(body).includes("idle_shutdown_hours"), shown(body));
      },
    },
    {
      id: "CONF-02",
      claim: "{} changes nothing and is 200 null",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const before = (await server.request("GET", "/server_configuration"))
          .text;
        const answer = await change(server, {});
        equal([answer.status, answer.text], [200, "null"], "the answer");
        equal(
          (await server.request("GET", "/server_configuration")).text,
          before,
          "after",
        );
      },
    },
    sets("CONF-03", "idle_shutdown_hours", 4, 4),
    sets("CONF-04", "idle_shutdown_hours", 65_535, 65_535),
    sets("CONF-05", "idle_shutdown_hours", -1, undefined),
    sets("CONF-06", "idle_shutdown_hours", -200, undefined),
    sets("CONF-07", "resource_sample_interval_ms", 250, 250),
    sets("CONF-08", "resource_sample_interval_ms", 50, 100),
    sets("CONF-09", "resource_sample_interval_ms", 0, 0),
    sets("CONF-10", "resource_sample_interval_ms", 70_000, 70_000),
    rejects("CONF-11", { idle_shutdown_hours: 65_536 }),
    rejects("CONF-12", { resource_sample_interval_ms: -1 }),
    {
      id: "CONF-13",
      claim: "an unknown log_level is 400",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        equal(
          (await change(server, { log_level: "LOUD" })).status,
          400,
          "status code",
        );
        equal(
          (await change(server, { log_level: 3 })).status,
          400,
          "status code",
        );
      },
    },
    {
      id: "CONF-14",
      claim: "the log level changes at run time, and is reported",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        equal(
          (await change(server, { log_level: "debug" })).status,
          200,
          "status code",
        );
        const { body } = await server.request("GET", "/server_configuration");
        equal(at(body, "log_level"), "debug", "log_level");
      },
    },
    {
      id: "CONF-15",
      claim:
        "a heartbeat is 200 null with a pid, without one, and with unusual ones",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        for (const body of [
          {},
          { process_id: process.pid },
          { process_id: -3 },
        ]) {
          const answer = await server.request("POST", "/client_heartbeat", {
            body,
          });
          equal([answer.status, answer.text], [200, "null"], shown(body));
        }
      },
    },
    {
      id: "CONF-16",
      claim: "several fields at once, and null for one of them",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const wanted = {
          idle_shutdown_hours: 7,
          resource_sample_interval_ms: null,
        };
        equal((await change(server, wanted)).status, 200, "status code");
        const { body } = await server.request("GET", "/server_configuration");
        equal(at(body, "idle_shutdown_hours"), 7, "idle_shutdown_hours");
      },
    },
  ],
});

function change(server: Server, body: unknown) {
  return server.request("POST", "/server_configuration", { body });
}

function sets(
  id: string,
  field: string,
  given: number,
  shownAs: number | undefined,
): Item<World> {
  const result = shownAs === undefined ? "omitted" : String(shownAs);
  return {
    id,
    claim: `${field} ${given} is accepted and shown as ${result}`,
    source:
      field === "idle_shutdown_hours" && given < 0
        ? "positron#7797"
        : KALLICHORE,
    mark: "same",
    run: async ({ server }) => {
      await change(server, { [field]: 2_000 });
      equal(
        (await change(server, { [field]: given })).status,
        200,
        "status code",
      );
      // There, another task stores the interval a moment later.
      const ask = async () =>
        at((await server.request("GET", "/server_configuration")).body, field);
      await until(`${field} is ${result}`, ask, {
        holds: (seen) => seen === shownAs,
        within_ms: 2_000,
      });
    },
  };
}

function rejects(
  id: string,
  body: Readonly<Record<string, number>>,
): Item<World> {
  return {
    id,
    claim: `${shown(body)} is 400 with code "400"`,
    source: KALLICHORE,
    mark: "same",
    run: async ({ server }) => {
      const answer = await change(server, body);
      equal(answer.status, 400, "status code");
      equal(at(answer.body, "code"), "400", "code");
      holds(at(answer.body, "message") !== undefined, "no message");
    },
  };
}
