/** `kallichore exec` with real kernels, as a real process. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Room, useCommand } from "./kallichore.ts";
import { needsIpykernel } from "../needs.ts";

useCommand();

test("a working directory that does not exist is refused, and no code runs", async () => {
  await using room = new Room();
  const nowhere = join(room.folder, "nowhere");
  const { code, stdout, stderr } = await room.run([
    "exec",
    "--cwd",
    "nowhere",
    "1",
  ]);
  expect([code, stdout]).toEqual([3, ""]);
  expect(stderr).toContain(`${nowhere} does not exist`);
});

describe("code on python3", needsIpykernel, () => {
  const python = ["exec", "-k", "python3"];

  test("the code's output goes to the same stream, and its result to standard output", async () => {
    await using room = new Room();
    const code =
      "import sys; print(6 * 7); print('oh', file=sys.stderr); 'done'";
    const { code: exit, stdout, stderr } = await room.run([...python, code]);
    expect([exit, stdout, stderr]).toEqual([0, "42\n'done'\n", "oh\n"]);
  });

  test("an error ends with 1; its traceback is on standard error, without colours in a pipe", async () => {
    await using room = new Room();
    const { code, stdout, stderr } = await room.run([...python, "1/0"]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/Traceback[^]*ZeroDivisionError: division by zero/);
    expect(stderr).not.toContain("\u001b");
  });

  test("an error that only the kernel's reply has is shown, to people and to programs", async () => {
    await using room = new Room();
    const code = "raise Exception(chr(0xd8ff))"; // ipykernel cannot send this as an output
    const shown = await room.run([...python, code]);
    expect([shown.code, shown.stdout]).toEqual([1, ""]);
    expect(shown.stderr).toMatch(/^UnicodeEncodeError: .*\\ud8ff/);
    const spelled = await room.run([...python, "--json", code]);
    const errors = spelled.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ type }) => type === "error");
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({
      ename: "UnicodeEncodeError",
      evalue: expect.stringContaining("ud8ff") as string,
    });
  });

  test("a kernel that is killed ends with 2, and its last output is shown", async () => {
    await using room = new Room();
    const code =
      "import os,sys; os.write(sys.stderr._original_stdstream_copy, b'last words\\n'); os.kill(os.getpid(), 9)";
    const { code: exit, stderr } = await room.run([...python, code]);
    expect(exit).toBe(2);
    expect(stderr).toContain("SIGKILL");
    expect(stderr).toContain("| last words");
  });

  test("code is read from a pipe, or from a file with a byte order mark", async () => {
    await using room = new Room();
    const piped = await room.run(python, { input: "print('piped')" });
    expect(piped.stdout).toBe("piped\n");
    const path = join(room.folder, "code.py");
    writeFileSync(path, "\uFEFFprint('file')\n");
    const read = await room.run([...python, "-f", path]);
    expect(read.stdout).toBe("file\n");
  });

  test("piped lines answer input requests, until the input ends", async () => {
    await using room = new Room();
    const code =
      "import getpass\nprint(input('name? '), getpass.getpass('word? '))\ninput('more? ')";
    const {
      code: exit,
      stdout,
      stderr,
    } = await room.run([...python, code], {
      input: "Ann\nsesame\n",
    });
    expect([exit, stdout]).toEqual([1, "Ann sesame\n"]);
    expect(stderr).toContain("name? ");
    expect(stderr).toContain("EOFError");
  });

  test("code that is read from standard input cannot request input", async () => {
    await using room = new Room();
    const { code, stderr } = await room.run(python, { input: "input()" });
    expect(code).toBe(1);
    expect(stderr).toContain("StdinNotImplementedError");
  });

  test("the timeout interrupts the code and ends with 124", async () => {
    await using room = new Room();
    const { code, stderr } = await room.run([
      ...python,
      "--timeout",
      "0.5",
      "while True: pass",
    ]);
    expect(code).toBe(124);
    expect(stderr).toContain("KeyboardInterrupt");
    expect(stderr).toContain("interrupted after 0.5 s");
  });

  test("the first SIGINT interrupts the code, and its own end decides the exit code", async () => {
    await using room = new Room();
    const code =
      "import time\ntry:\n  print('go', flush=True)\n  time.sleep(60)\nexcept KeyboardInterrupt:\n  print('caught')";
    const running = room.start([...python, code]);
    await running.until("go");
    running.child.kill("SIGINT");
    const ended = await running.ended();
    expect([ended.code, ended.stdout]).toEqual([0, "go\ncaught\n"]);
  });

  test("the second SIGINT kills the kernel of code that ignores interrupts", async () => {
    await using room = new Room();
    const code =
      "import time\nprint('go', flush=True)\nwhile True:\n  try: time.sleep(60)\n  except KeyboardInterrupt: print('no', flush=True)";
    const running = room.start([...python, code]);
    await running.until("go");
    running.child.kill("SIGINT");
    await running.until("no");
    running.child.kill("SIGINT");
    expect((await running.ended()).code).toBe(130);
  });

  test("a reader that closes the pipe ends the command and the kernel without a message", async () => {
    await using room = new Room();
    const code = "i = 0\nwhile True:\n  print(i)\n  i += 1";
    const running = room.start([...python, code]);
    await running.until("100\n");
    running.child.stdout?.destroy();
    const { code: exit, stderr } = await running.ended();
    expect([exit, stderr]).toEqual([141, ""]);
  });

  test("ten thousand lines arrive, each once and in order", async () => {
    await using room = new Room();
    const { stdout } = await room.run([
      ...python,
      "for i in range(10_000): print(i)",
    ]);
    const expected = Array.from({ length: 10_000 }, (_, i) => `${i}\n`);
    expect(stdout).toBe(expected.join(""));
  });

  test("64 MB arrive complete at a slow reader", async () => {
    await using room = new Room();
    const running = room.start([
      ...python,
      "import sys\nfor i in range(64): sys.stdout.write('z' * (1 << 20))",
    ]);
    const count = spawn("sh", ["-c", "dd bs=64k 2>/dev/null | wc -c"]);
    let counted = "";
    count.stdout.on("data", (text: Buffer) => (counted += text.toString()));
    running.child.stdout?.removeAllListeners("data");
    running.child.stdout?.pipe(count.stdin);
    await once(count, "close");
    expect((await running.ended()).code).toBe(0);
    expect(Number(counted)).toBe(64 << 20);
  });

  test("with --json every line is an object, and the last one says how the code ended", async () => {
    await using room = new Room();
    const { code, stdout } = await room.run([
      ...python,
      "--json",
      "print(1)\n2",
    ]);
    const lines = stdout.trim().split("\n");
    const events = lines.map((line) => JSON.parse(line) as { type: string });
    expect(code).toBe(0);
    expect(events[0]).toMatchObject({ type: "session", kernel: "python3" });
    expect(events).toContainEqual(
      expect.objectContaining({ type: "stream", name: "stdout", text: "1\n" }),
    );
    expect(events).toContainEqual(
      expect.objectContaining({
        type: "execute_result",
        data: { "text/plain": "2" },
      }),
    );
    expect(events.at(-1)).toEqual({
      type: "end",
      status: "ok",
      execution_count: 1,
      exit_code: 0,
    });
  });

  test("pictures are numbered and never overwritten; without --save-to they are described", async () => {
    await using room = new Room();
    const figures = join(room.folder, "figures");
    mkdirSync(figures);
    writeFileSync(join(figures, "picture-1.svg"), "mine");
    const code =
      "from IPython.display import SVG, display\ndisplay(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))";
    const kept = await room.run([...python, "--save-to", figures, code]);
    expect(kept.stderr).toContain("picture-2.svg");
    expect(readFileSync(join(figures, "picture-1.svg"), "utf8")).toBe("mine");
    expect(readdirSync(figures)).toEqual(["picture-1.svg", "picture-2.svg"]);
    const named = await room.run([...python, code]);
    expect(named.stderr).toMatch(/\(image\/svg\+xml, \d+ B; --save-to DIR/);
  });

  test("the code runs in the current directory", async () => {
    await using room = new Room();
    const cwd = join(room.folder, "home");
    const code = "import os; print(os.getcwd())";
    const { stdout } = await room.run([...python, code], { cwd });
    expect(stdout).toBe(`${cwd}\n`);
  });

  test.each([
    ["Ctrl-C at a terminal interrupts the code", "\u0003", 130],
    ["Ctrl-D at a terminal is the end of the input", "\u0004", 1],
  ])("%s that waits for an answer", async (_title, key, exit) => {
    await using room = new Room();
    const running = room.terminal([...python, "input('na' + 'me? ')"]);
    await running.until("name? ");
    running.type(key);
    expect((await running.ended()).code).toBe(exit);
  });

  test("a password is not shown", async () => {
    await using room = new Room();
    const code = "import getpass; print(len(getpass.getpass('wo' + 'rd? ')))";
    const running = room.terminal([...python, code]);
    await running.until("word? ");
    running.type("sesame\r");
    const { code: exit, stdout } = await running.ended();
    expect(exit).toBe(0);
    expect(stdout).toContain("6");
    expect(stdout).not.toContain("sesame");
  });
});

describe("errors", () => {
  test("a kernel that does not start ends with 2, and shows the reason and its output", async () => {
    await using room = new Room();
    const { code, stderr } = await room.run(["exec", "-k", "stillborn", "1"]);
    expect(code).toBe(2);
    expect(stderr).toContain("exited while it started");
  });

  test("a program that does not exist is named", async () => {
    await using room = new Room();
    const folder = join(room.folder, "jupyter/kernels/absent");
    mkdirSync(folder);
    const spec = {
      argv: ["/no/such/program"],
      display_name: "Absent",
      language: "none",
    };
    writeFileSync(join(folder, "kernel.json"), JSON.stringify(spec));
    const { code, stderr } = await room.run(["exec", "-k", "absent", "1"]);
    expect(code).toBe(2);
    expect(stderr).toContain("/no/such/program was not found");
  });

  test("a similar kernel name is suggested", async () => {
    await using room = new Room();
    const { code, stderr } = await room.run(["exec", "-k", "ehco", "1"]);
    expect(code).toBe(3);
    expect(stderr).toContain("Did you mean echo?");
  });

  test("with --json a failure is an object on standard output", async () => {
    await using room = new Room();
    const { stdout } = await room.run(["exec", "--json", "-k", "ehco", "1"]);
    expect(JSON.parse(stdout)).toMatchObject({
      type: "failure",
      exit_code: 3,
      reason: "kernelspec_not_found",
      hint: "Did you mean echo?",
    });
  });

  test.each([
    ["an unknown option", ["exec", "--colour", "1"]],
    ["an unknown command", ["exce", "1"]],
    ["code twice", ["exec", "1", "-f", "x.py"]],
    ["a file that does not exist", ["exec", "-f", "/no/such/file"]],
    ["a timeout that is not a number", ["exec", "--timeout", "soon", "1"]],
    ["a session and a kernel", ["exec", "-s", "a", "-k", "b", "1"]],
  ])("%s ends with 64", async (_title, args) => {
    await using room = new Room();
    const { code, stdout, stderr } = await room.run(args);
    expect([code, stdout]).toEqual([64, ""]);
    expect(stderr).not.toBe("");
  });

  test("SIGTERM ends the command and the kernel", async () => {
    await using room = new Room();
    const running = room.start(["exec", "--json", "-k", "echo", "sleep 60000"]);
    await running.until("busy");
    running.child.kill("SIGTERM");
    expect((await running.ended()).code).toBe(143);
  });
});
