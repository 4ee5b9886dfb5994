import { expect, test } from "vitest";
import { lineOf } from "../../src/log/line.ts";

const time = Date.UTC(2026, 2, 1, 12, 0, 1);
const info = { time, level: 30 };

test("a line is the time in UTC, the level, the message", () => {
  expect(lineOf({ ...info, msg: "Listening" })).toBe(
    "12:00:01 [INFO] Listening\n",
  );
});

test("a line about a session begins with its id", () => {
  expect(lineOf({ ...info, session: "py-1", msg: "Begun" })).toBe(
    "12:00:01 [INFO] [session py-1] Begun\n",
  );
});

test("debug and trace lines show their target", () => {
  const record = { time, level: 20, msg: "x", target: "kcserver::zmq" };
  expect(lineOf(record)).toBe("12:00:01 [DEBUG] (1) kcserver::zmq: x\n");
  expect(lineOf({ time, level: 10, msg: "x" })).toBe(
    "12:00:01 [TRACE] (1) kcserver::server: x\n",
  );
});

test("further fields follow the message", () => {
  expect(lineOf({ ...info, msg: "Refused", channel: "iopub", n: 3 })).toBe(
    "12:00:01 [INFO] Refused channel=iopub n=3\n",
  );
});

test("an error shows its stack, a warning only its message", () => {
  const err = { message: "full", stack: "Error: full\n    at here" };
  expect(lineOf({ time, level: 50, msg: "Lost", err })).toBe(
    "12:00:01 [ERROR] Lost: Error: full\n        at here\n",
  );
  expect(lineOf({ time, level: 40, msg: "Lost", err })).toBe(
    "12:00:01 [WARN] Lost: full\n",
  );
});

test("only the level is coloured", () => {
  expect(lineOf({ ...info, msg: "x" }, { color: true })).toBe(
    "12:00:01 [\u001b[34mINFO\u001b[39m] x\n",
  );
});

test("no message can look like a second line, or move a cursor", () => {
  const msg = "a\r\n12:00:02 [INFO] forged\u001b[2J\u0007";
  expect(lineOf({ ...info, msg })).toBe(
    "12:00:01 [INFO] a\n    12:00:02 [INFO] forged\\x1b[2J\\x07\n",
  );
});

test.each([
  ["a known secret", { msg: "got sesame-sesame" }],
  ["a header", { msg: "refused Bearer sesame-sesame" }],
  ["a token in an address", { msg: "GET /x?token=sesame-sesame&a=1" }],
  ["a key in a JSON document", { msg: '{"key": "sesame-sesame"}' }],
  ["a field by its name", { msg: "x", bearer_token: "sesame-sesame" }],
  ["an environment", { msg: "x", env: { A: "sesame-sesame" } }],
  ["a stack", { msg: "x", err: { stack: "Bearer sesame-sesame" }, level: 50 }],
])("%s is hidden", (what, fields) => {
  const secrets = what === "a known secret" ? ["sesame-sesame"] : [];
  const line = lineOf({ ...info, ...fields }, { secrets });
  expect(line).not.toContain("sesame");
  expect(line).toContain("[hidden]");
});
