/** `kallichore attach` at a terminal, with real Python. */
import { describe, expect, test } from "vitest";
import { Room, useCommand } from "./kallichore.ts";
import { needsIpykernel } from "../needs.ts";

const UP = "\u001b[A";
const DOWN = "\u001b[B";

useCommand();

describe("a prompt on a session with python3", needsIpykernel, () => {
  test("runs the typed code, continues incomplete code on the next line, and ends with Ctrl-D", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "python3", "--id", "work"]);
    const person = room.terminal(["attach", "wo"]);
    await person.until("In [");
    person.type("x = 6\r");
    await person.until("In [2]: ");
    person.type("x * 7\r");
    await person.until("42");
    await person.until("In [3]: ");
    person.type("for i in range(2):\r");
    await person.until("...: ");
    person.type("print('i =', i)\r");
    await person.until("...: ");
    person.type("\r");
    await person.until("i = 1");
    await person.until("In [4]: ");
    person.type("\u0004");
    expect((await person.ended()).code).toBe(0);
    expect((await room.run(["exec", "-s", "work", "x"])).stdout).toBe("6\n");
  });

  test("completes with Tab, interrupts with Ctrl-C, and answers input requests", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "python3", "--id", "work"]);
    const person = room.terminal(["attach", "work"]);
    await person.until("In [");
    person.type("import itertools\r");
    await person.until("In [2]: ");
    person.type("itertools.accum\t");
    await person.until("itertools.accumulate");
    person.type("\r");
    await person.until("In [3]: ");
    person.type("print('g' + 'o'); import time; time.sleep(60)\r");
    await person.until("go\r\n");
    person.type("\u0003");
    await person.until("KeyboardInterrupt");
    await person.until("In [4]: ");
    person.type("input('na' + 'me? ').upper()\r");
    await person.until("name? ");
    person.type("ann\r");
    await person.until("'ANN'");
    await person.until("In [5]: ");
    person.type("\u0004");
    expect((await person.ended()).code).toBe(0);
  });

  test("an answer, such as a password, is not in the history", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "python3", "--id", "work"]);
    const person = room.terminal(["attach", "work"]);
    await person.until("In [");
    person.type(
      "answers = (input('na' + 'me? '), __import__('getpass').getpass('se' + 'cret? '))\r",
    );
    await person.until("name? ");
    person.type("ann-the-visible\r");
    await person.until("secret? ");
    person.type("hunter-2-hidden\r");
    await person.until("In [2]: ");
    const before = person.stdout.length;
    person.type(UP);
    await person.until("getpass");
    person.type(UP + UP + UP + DOWN + DOWN + DOWN);
    person.type("\u0005\u0015print('en' + 'd')\r");
    await person.until("end\r\n");
    const since = person.stdout.slice(before);
    expect(since).not.toContain("ann-the-visible");
    expect(person.stdout).not.toContain("hunter-2-hidden");
    person.type("\u0004");
    expect((await person.ended()).code).toBe(0);
  });

  test("shows what other clients do in the same session", async () => {
    await using room = new Room();
    await room.serve();
    await room.run(["start", "python3", "--id", "work"]);
    const person = room.terminal(["attach", "work"]);
    await person.until("In [");
    await room.run(["exec", "-s", "work", "print('from ' + 'elsewhere')"]);
    await person.until("from elsewhere");
    await room.run(["kill", "work"]);
    await person.until("The kernel ended (SIGKILL)");
    person.type("\u0004");
    expect((await person.ended()).code).toBe(0);
  });
});

test("a program can watch a session", async () => {
  await using room = new Room();
  await room.serve();
  await room.run(["start", "echo", "--id", "work"]);
  const watching = room.start(["attach", "work", "--json"]);
  await watching.until('"kind":"attached"');
  await room.run(["exec", "-s", "work", "hello"]);
  await watching.until('"msg_type":"stream"');
});

test("the prompt needs a terminal; the error names the command that does not", async () => {
  await using room = new Room();
  await room.serve();
  await room.run(["start", "echo", "--id", "work"]);
  const { code, stderr } = await room.run(["attach", "work"]);
  expect(code).toBe(64);
  expect(stderr).toContain("kallichore exec -s work");
});
