import { expect, test } from "vitest";
import {
  contents,
  contract,
  type Contract,
  messageScopes,
  Scope,
  scopeOfMessage,
} from "../../contract/index.ts";

const operations = Object.entries(contract as Contract).flatMap(
  ([group, members]) =>
    Object.entries(members).map(([name, { access, kind }]) => ({
      name: `${group}.${name}`,
      access,
      kind,
    })),
);
const accessOf = Object.fromEntries(
  operations.map(({ name, access }) => [name, access]),
);

test("every operation names the scope that it needs", () => {
  const known = ["open", "as_message", ...Scope.options];
  for (const { name, access } of operations) {
    expect(known, name).toContain(access);
  }
});

test("only the status and the version of Jupyter's API need no token, and only operations that carry a message use the scope of the message", () => {
  const having = (access: string) =>
    operations.filter((each) => each.access === access).map(({ name }) => name);
  expect(having("open")).toEqual(["server.status", "jupyter.version"]);
  expect(having("as_message")).toEqual(["sessions.send", "sessions.request"]);
});

test("a token with the scope observe cannot change anything", () => {
  const changing = operations.filter(
    ({ access, kind }) => access === "observe" && kind === "mutation",
  );
  expect(changing.map(({ name }) => name)).toEqual([
    "executions.wait",
    "server.heartbeat",
  ]);
});

test.each([
  ["sessions.list", "observe"],
  ["sessions.execute", "execute"],
  ["executions.create", "execute"],
  ["executions.answer", "execute"],
  ["sessions.start", "control"],
  ["sessions.shutdown", "control"],
  ["sessions.adopt", "admin"],
  ["sessions.connection_info", "admin"],
  ["server.configure", "admin"],
  ["server.shutdown", "admin"],
])("%s needs the scope %s", (name, scope) => {
  expect(accessOf[name]).toBe(scope);
});

test("every message that a client sends has its scope", () => {
  const replied = Object.keys(contents)
    .filter((type) => type.endsWith("_reply"))
    .map((type) => type.replace(/_reply$/, "_request"));
  const bothWays = ["comm_open", "comm_msg", "comm_close", "input_reply"];
  for (const type of [...replied, ...bothWays, "debug_request"]) {
    expect(Object.keys(messageScopes)).toContain(type);
  }
});

test.each(["no_such_request", "toString", "__proto__", ""])(
  "a message of the unknown type %j needs the scope admin",
  (type) => {
    expect(scopeOfMessage(type)).toBe("admin");
  },
);
