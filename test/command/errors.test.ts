/** The command's error messages: they explain the error and what to do, and show no system codes. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Room, useCommand } from "./kallichore.ts";

useCommand();

test("a token file that cannot be read is an error, also if the server needs no token", async () => {
  await using room = new Room();
  await room.serve();
  const { code, stderr, stdout } = await room.run([
    "ps",
    "--token",
    "/nonexistent",
  ]);
  expect(code).toBe(64);
  expect(stdout).toBe("");
  expect(stderr).toContain(
    "The token file /nonexistent cannot be read: there is no such file or directory",
  );
});

test("a wrong session id does not prevent the command for the other sessions", async () => {
  await using room = new Room();
  await room.serve();
  for (const id of ["a", "b"]) await room.run(["start", "echo", "--id", id]);

  const { code, stderr } = await room.run(["stop", "a", "wrong", "b"]);

  expect(code).toBe(3);
  expect(stderr).toContain("Stopped a");
  expect(stderr).toContain("There is no session wrong");
  expect(stderr).toContain("Stopped b");
  const { stdout } = await room.run(["ps", "--json"]);
  const { sessions } = JSON.parse(stdout) as {
    sessions: { session_id: string; status: string }[];
  };
  expect(sessions.map(({ status }) => status)).toEqual(["exited", "exited"]);
});

test("with --json, the output lists which sessions were stopped and which were not", async () => {
  await using room = new Room();
  await room.serve();
  await room.run(["start", "echo", "--id", "a"]);

  const { code, stdout } = await room.run(["stop", "a", "wrong", "--json"]);

  expect(code).toBe(3);
  expect(JSON.parse(stdout)).toEqual({
    sessions: ["a"],
    failures: [
      {
        name: "wrong",
        message: "There is no session wrong",
        reason: "session_not_found",
        hint: "There are: a",
      },
    ],
  });
});

describe("help", () => {
  test("shows the help of each command, and refuses an unknown command", async () => {
    await using room = new Room();
    const known = await room.run(["help", "exec"]);
    expect(known.code).toBe(0);
    expect(known.stdout).toContain("Usage: kallichore exec");

    const all = await room.run(["help"]);
    expect(all.code).toBe(0);
    expect(all.stdout).toContain("Usage: kallichore ");

    const unknown = await room.run(["help", "exce"]);
    expect(unknown.code).toBe(64);
    expect(unknown.stdout).toBe("");
    expect(unknown.stderr).toContain("There is no command exce");
    expect(unknown.stderr).toContain("Did you mean exec?");
  });
});

describe("the system's errors are explained in words", () => {
  test("for files and directories", async () => {
    await using room = new Room();
    const folder = join(room.folder, "folder");
    mkdirSync(folder);
    for (const [args, words] of [
      [["exec", "-f", folder], `${folder} cannot be read: it is a directory`],
      [
        ["serve", "--token", folder],
        `The token file ${folder} cannot be read: it is a directory`,
      ],
      [
        ["serve", "--log-file", folder],
        `The log file ${folder} cannot be written: it is a directory`,
      ],
    ] as const) {
      const { code, stderr } = await room.run(args);
      expect(stderr).toContain(words);
      expect(stderr).not.toMatch(/\bE[A-Z]{4,}\b|\n {4}at /);
      expect(code).toBe(64);
    }
  });

  test("for addresses", async () => {
    await using room = new Room();
    const taken = await room.serve();
    const { url } = JSON.parse(taken.stdout) as { url: string };
    const { port } = new URL(url);
    const file = join(room.folder, "file");
    writeFileSync(file, "");
    for (const [args, words] of [
      [
        ["--port", port],
        `The server cannot listen on 127.0.0.1, port ${port}: another program listens there already`,
      ],
      [["--socket", file], `The server cannot listen on ${file}: `],
    ] as const) {
      const { code, stderr } = await room.run(["serve", ...args]);
      expect(stderr).toContain(words);
      expect(stderr).not.toMatch(/\bE[A-Z]{4,}\b|\n {4}at /);
      expect(code).toBe(3);
    }
  });

  test("for servers that do not run", async () => {
    await using room = new Room();
    const ended = await room.serve();
    const { url } = JSON.parse(ended.stdout) as { url: string };
    ended.child.kill("SIGTERM");
    await ended.ended();
    const { code, stderr } = await room.run(["ps", "--server", url]);
    expect(code).toBe(3);
    expect(stderr).toContain(`No server at ${url}: `);
    expect(stderr).toContain("nothing listens there");
    expect(stderr).not.toMatch(/fetch failed|\bE[A-Z]{4,}\b/);
  });
});
