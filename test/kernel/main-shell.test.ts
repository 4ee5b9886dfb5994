import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ShellState } from "../../src/kernel/kernel.ts";
import { MainShell } from "../../src/kernel/main-shell.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function watch() {
  const reported: ShellState[] = [];
  const shell = new MainShell((state) => reported.push(state));
  return { shell, reported };
}

test("the idle of the server's request is reported once, for any number of requests", () => {
  const { shell, reported } = watch();
  for (const id of ["a", "b"]) shell.requestSent(id);
  shell.stateForOwn("a", "busy");
  expect(reported).toEqual([]);
  for (const id of ["a", "b"]) {
    shell.replyReceived(id);
    shell.stateForOwn(id, "idle");
  }
  vi.runAllTimers();
  expect(reported).toEqual(["idle"]);
});

test("the idle of the control channel reports nothing", () => {
  const { shell, reported } = watch();
  shell.requestSent("shell");
  shell.replyReceived("control");
  shell.stateForOwn("control", "idle");
  vi.runAllTimers();
  expect(reported).toEqual([]);
  expect(shell.hasAnswered).toBe(false);
});

test("a kernel that answers and sends no idle counts as idle after two seconds", () => {
  const { shell, reported } = watch();
  shell.requestSent("a");
  shell.replyReceived("a");
  vi.advanceTimersByTime(1_999);
  expect(reported).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(reported).toEqual(["idle"]);
});

test("while the kernel is busy with others' code, the server's request reports nothing", () => {
  const { shell, reported } = watch();
  shell.requestSent("a");
  shell.stateForOthers("busy");
  shell.stateForOwn("a", "idle");
  expect(reported).toEqual([]);
});

test("a shell that does not answer while the kernel does is busy, and idle when it has answered", () => {
  const { shell, reported } = watch();
  shell.requestSent("a");
  shell.assumeBusy();
  shell.stateForOwn("a", "idle");
  shell.assumeBusy();
  expect(reported).toEqual(["busy", "idle"]);
});

test("a kernel that is gone reports nothing more", () => {
  const { shell, reported } = watch();
  shell.requestSent("a");
  shell.replyReceived("a");
  shell.close();
  vi.runAllTimers();
  shell.stateForOwn("a", "idle");
  expect(reported).toEqual([]);
});
