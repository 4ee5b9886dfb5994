/** Files that the system cannot run, and the errors that a client receives. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { whyNotRunnable } from "../../src/host/runnable.ts";
import { needsLinux, needsPosix } from "../needs.ts";
import { openServer, ownWords, temporaryFolder } from "../harness.ts";

/** The header of this program, with another processor. */
function foreign(): Buffer {
  const head = Buffer.from(readFileSync(process.execPath).subarray(0, 4096));
  head.writeUInt16LE(0x1234, 18);
  return head;
}

function program(content: string | Buffer, mode = 0o755): string {
  const path = join(temporaryFolder(), "kernel");
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe("a file", needsPosix, () => {
  test.each([
    ["of text", "exit 3\n", "ENOEXEC"],
    ["that is empty", "", "ENOEXEC"],
    ["of some bytes", Buffer.from([0, 1, 2, 3]), "ENOEXEC"],
    ["that begins with #! and has no interpreter", "#!\nexit 3\n", "ENOEXEC"],
    ["whose interpreter is missing", "#!/nowhere/sh -e\nexit 3\n", "ENOENT"],
  ])("%s cannot be run", async (_what, content, code) => {
    expect(await whyNotRunnable(program(content))).toMatchObject({ code });
  });

  test("for another processor cannot be run", needsLinux, async () => {
    const fault = await whyNotRunnable(program(foreign()));
    expect(fault).toMatchObject({ code: "ENOEXEC" });
  });

  test.each([
    ["a native program", () => process.execPath],
    ["a script", () => program("#!/bin/sh\nexit 3\n")],
    [
      "a script with a blank before its interpreter",
      () => program("#! /bin/sh -e\nexit 3\n"),
    ],
    ["a script that uses env", () => program("#!/usr/bin/env node\n")],
  ])("can be run: %s", async (_what, path) => {
    expect(await whyNotRunnable(path())).toBeUndefined();
  });
});

describe("a kernel's start reports", needsPosix, () => {
  test.each([
    [
      "text without #!",
      () => program("touch ran; exit 3\n"),
      8,
      "exec format error",
    ],
    ["an empty file", () => program(""), 8, "exec format error"],
    [
      "a script without its interpreter",
      () => program("#!/nowhere/sh\n"),
      2,
      "/nowhere/sh",
    ],
    [
      "a file without the permission to run",
      () => program("#!/bin/sh\n", 0o644),
      13,
      "permission denied",
    ],
  ])("KS-5 for %s", async (_what, path, exit_code, words) => {
    await using server = await openServer();
    const argv = [path(), "{connection_file}"];
    await server.ask("PUT", "/sessions", {
      session_id: "s",
      argv,
      ...ownWords,
    });
    const { status, body } = await server.ask("POST", "/sessions/s/start");
    expect(status).toBe(500);
    expect(body).toMatchObject({
      exit_code,
      error: {
        code: "KS-5",
        message: expect.stringContaining(words) as string,
      },
    });
  });

  test("that a directory is not a program", async () => {
    const path = join(temporaryFolder(), "kernel");
    mkdirSync(path);
    await using server = await openServer();
    const answer = await server.ask("PUT", "/sessions", {
      session_id: "s",
      argv: [path],
      ...ownWords,
    });
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: "KS-19" });
  });
});
