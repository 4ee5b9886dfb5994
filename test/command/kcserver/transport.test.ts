import { expect, test } from "vitest";
import type { Options } from "../../../src/command/kcserver/options.ts";
import {
  PATH_LIMIT,
  listenChoiceOf,
  type Surroundings,
} from "../../../src/command/kcserver/transport.ts";

const unix: Surroundings = {
  platform: "linux",
  pid: 42,
  temporary: "/tmp",
  env: {},
};
const windows: Surroundings = { ...unix, platform: "win32" };

function options(some: Partial<Options>): Options {
  const none = {
    port: 0,
    reportVersion: "1",
    kernelSockets: "tcp" as const,
    prespawn: [],
    allowOrigin: [],
    allowHost: [],
  };
  return { ...none, ...some };
}

test.each<[Partial<Options>, Surroundings, string]>([
  [{}, unix, "tcp"],
  [{}, windows, "tcp"],
  [{ connectionFile: "c" }, unix, "socket"],
  [{ connectionFile: "c" }, windows, "named-pipe"],
  [{ handshakeSocket: "h" }, unix, "tcp"],
  [{ handshakeSocket: "h" }, windows, "tcp"],
  [{ handshakeSocket: "h", connectionFile: "c" }, unix, "socket"],
  [{ unixSocket: "/s" }, unix, "socket"],
  [{ connectionFile: "c", transport: "tcp" }, unix, "tcp"],
  [{ transport: "socket" }, unix, "socket"],
  [{ transport: "named-pipe" }, windows, "named-pipe"],
  [{ port: 8080 }, unix, "tcp"],
])("%j, on %j, is %s", (some, surroundings, transport) => {
  const { address } = listenChoiceOf(options(some), surroundings);
  expect(address.transport).toBe(transport);
});

test.each<[string, Partial<Options>, Surroundings, RegExp]>([
  ["a port without TCP", { port: 1, connectionFile: "c" }, unix, /--port/],
  [
    "a port, before a socket",
    { port: 1, unixSocket: "s", transport: "x" },
    unix,
    /--port/,
  ],
  [
    "a socket without sockets, before an unknown word",
    { unixSocket: "s", transport: "x" },
    unix,
    /--unix-socket/,
  ],
  ["a socket on Windows", { transport: "socket" }, windows, /Windows/],
  ["a pipe on another system", { transport: "named-pipe" }, unix, /Windows/],
  ["an unknown word", { transport: "TCP" }, unix, /"TCP"/],
])("refused: %s", (_what, some, surroundings, message) => {
  expect(() => listenChoiceOf(options(some), surroundings)).toThrow(message);
});

test.each<[string, Partial<Options>, Record<string, string>, string]>([
  ["the temporary directory", {}, {}, "/tmp/kc-42.sock"],
  [
    "the runtime directory",
    {},
    { XDG_RUNTIME_DIR: "/run/user/1" },
    "/run/user/1/kc-42.sock",
  ],
  ["not an empty directory", {}, { XDG_RUNTIME_DIR: "" }, "/tmp/kc-42.sock"],
  [
    "not a path that is too long",
    {},
    { XDG_RUNTIME_DIR: `/${"x".repeat(100)}` },
    "/tmp/kc-42.sock",
  ],
  [
    "the named directory",
    { socketDir: "/d" },
    { XDG_RUNTIME_DIR: "/run/user/1" },
    "/d/kc-42.sock",
  ],
  ["the named path", { unixSocket: "/s" }, {}, "/s"],
])("the socket is in %s", (_where, some, env, path) => {
  const all = options({ ...some, transport: "socket" });
  expect(listenChoiceOf(all, { ...unix, env }).address).toEqual({
    transport: "socket",
    path,
  });
});

test("a path that is too long in every directory is refused later", () => {
  const long = `/${"x".repeat(PATH_LIMIT)}`;
  const env = { XDG_RUNTIME_DIR: long };
  const place = listenChoiceOf(options({ transport: "socket" }), {
    ...unix,
    env,
    temporary: long,
  });
  expect(place.address).toMatchObject({ path: `${long}/kc-42.sock` });
});

test("a pipe has the process id and a random part in its name", () => {
  const all = options({ transport: "named-pipe" });
  expect(listenChoiceOf(all, { ...windows, secret: "cafe" }).address).toEqual({
    transport: "named-pipe",
    name: "\\\\.\\pipe\\kallichore-42-cafe",
  });
  const [one, other] = [
    listenChoiceOf(all, windows),
    listenChoiceOf(all, windows),
  ];
  expect(one.address).not.toEqual(other.address);
});
