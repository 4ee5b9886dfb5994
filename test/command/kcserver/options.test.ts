import { describe, expect, test } from "vitest";
import {
  type Options,
  parseOptions,
} from "../../../src/command/kcserver/options.ts";
import { COMPATIBLE_VERSION } from "../../../src/package/version.ts";

function parsed(...argv: string[]): Options {
  const answer = parseOptions(argv, { env: {}, platform: "linux" });
  if (!("options" in answer)) throw new Error(answer.stderr);
  return answer.options;
}

function refusal(...argv: string[]): string {
  const answer = parseOptions(argv, { env: {}, platform: "linux" });
  if ("options" in answer) throw new Error("not refused");
  expect(answer.code).toBe(2);
  expect(answer.stdout).toBe("");
  return answer.stderr;
}

test("without arguments, only options with a default are set", () => {
  expect(parsed()).toEqual({
    port: 0,
    reportVersion: COMPATIBLE_VERSION,
    kernelSockets: "tcp",
    prespawn: [],
    allowOrigin: [],
    allowHost: [],
  });
});

test.each([
  [["--port", "8080"]],
  [["--port=8080"]],
  [["-p", "8080"]],
  [["-p8080"]],
  [["-p=8080"]],
])("%j is a port", (argv) => {
  expect(parsed(...argv).port).toBe(8080);
});

test("every option is read", () => {
  expect(
    parsed(
      ...["-t", "none", "--log-file", "l", "--connection-file", "c"],
      ...["--handshake-socket", "h", "-i", "0", "-r", "65535", "-l", "warn"],
      ...["--socket-dir", "d", "--unix-socket", "s", "--transport", "x"],
      ...["--report-version", "1.2.3", "--install-launcher", "b"],
      ...["--kernel-sockets", "tcp", "--prespawn", "python3=2"],
      ...["--allow-origin", "a", "--allow-origin=b", "--allow-host", "n"],
    ),
  ).toEqual({
    port: 0,
    token: "none",
    logFile: "l",
    connectionFile: "c",
    handshakeSocket: "h",
    idleShutdownHours: 0,
    resourceSampleInterval: 65535,
    kernelSockets: "tcp",
    prespawn: [{ kernel_name: "python3", count: 2 }],
    logLevel: "warn",
    socketDir: "d",
    unixSocket: "s",
    transport: "x",
    reportVersion: "1.2.3",
    installLauncher: "b",
    allowOrigin: ["a", "b"],
    allowHost: ["n"],
  });
});

describe("refused with the usage:", () => {
  test.each([
    [["--bogus"]],
    [["-x"]],
    [["--conn", "f"]],
    [["word"]],
    [["--", "word"]],
    [["--port"]],
    [["--port", "-1"]],
    [["--port="]],
    [["--port", "65536"]],
    [["--port", "80.5"]],
    [["--port", "0x50"]],
    [["--port", " 80"]],
    [["-i", "-1"]],
    [["-i", "forever"]],
    [["--log-file", "--port"]],
    [["--log-file", "-l", "info"]],
    [["--log-file", "a", "--log-file", "a"]],
    [["-l", "info", "--log-level=info"]],
    [["--report-version", "a b"]],
    [["--report-version", "newest"]],
    [["--version=1"]],
  ])("%j", (argv) => {
    expect(refusal(...argv)).toMatch(/^error: .+\n\nUsage: kcserver /);
  });

  test("Unix sockets on Windows", () => {
    const answer = parseOptions(["--socket-dir", "d"], {
      env: {},
      platform: "win32",
    });
    expect(answer).toMatchObject({ code: 2 });
  });
});

test("the limit on disk is a number of bytes, also with a unit", () => {
  expect(parsed("--disk-limit", "512M").diskLimit).toBe(512 * 1024 ** 2);
  expect(parsed("--disk-limit=0").diskLimit).toBe(0);
  expect(refusal("--disk-limit", "much")).toMatch(/number of bytes/);
});

test("a value may begin with a dash if it is joined to its option", () => {
  expect(parsed("--log-file=-l").logFile).toBe("-l");
});

test("the reported version is that of the option, or else of the environment", () => {
  const env = { KALLICHORE_REPORT_VERSION: "7.7.7" };
  expect(parseOptions(["-V"], { env })).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^kcserver 7\.7\.7 /) as string,
  });
  expect(parseOptions(["--report-version", "8.8.8"], { env })).toMatchObject({
    options: { reportVersion: "8.8.8" },
  });
});

test("without both, the reported version is the expected one", () => {
  const expectedVersion = "0.1.66";
  expect(parseOptions([], { env: {}, expectedVersion })).toMatchObject({
    options: { reportVersion: "0.1.66" },
  });
  const env = { KALLICHORE_REPORT_VERSION: "7.7.7" };
  expect(parseOptions([], { env, expectedVersion })).toMatchObject({
    options: { reportVersion: "7.7.7" },
  });
});

test("a version in the environment must be valid", () => {
  const env = { KALLICHORE_REPORT_VERSION: "0.1\nx" };
  expect(parseOptions([], { env })).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/KALLICHORE_REPORT_VERSION/) as string,
  });
});
