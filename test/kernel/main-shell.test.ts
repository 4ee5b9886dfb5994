import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ShellState } from "../../src/kernel/kernel.ts";
import { MainShell } from "../../src/kernel/main-shell.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function watch() {
  const told: ShellState[] = [];
  const shell = new MainShell((state) => told.push(state));
  return { shell, told };
}

test("the idle of a request of ours tells, once, however many are asked", () => {
  const { shell, told } = watch();
  for (const id of ["a", "b"]) shell.requestSent(id);
  shell.stateForOwn("a", "busy");
  expect(told).toEqual([]);
  for (const id of ["a", "b"]) {
    shell.replyReceived(id);
    shell.stateForOwn(id, "idle");
  }
  vi.runAllTimers();
  expect(told).toEqual(["idle"]);
});

test("the control channel's idle tells nothing", () => {
  const { shell, told } = watch();
  shell.requestSent("shell");
  shell.replyReceived("control");
  shell.stateForOwn("control", "idle");
  vi.runAllTimers();
  expect(told).toEqual([]);
  expect(shell.hasAnswered).toBe(false);
});

test("a kernel that answers and says no idle is idle after two seconds", () => {
  const { shell, told } = watch();
  shell.requestSent("a");
  shell.replyReceived("a");
  vi.advanceTimersByTime(1_999);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(told).toEqual(["idle"]);
});

test("while it is busy with others' code, our request tells nothing", () => {
  const { shell, told } = watch();
  shell.requestSent("a");
  shell.stateForOthers("busy");
  shell.stateForOwn("a", "idle");
  expect(told).toEqual([]);
});

test("one that does not answer while the kernel does is busy, and idle once it has answered", () => {
  const { shell, told } = watch();
  shell.requestSent("a");
  shell.assumeBusy();
  shell.stateForOwn("a", "idle");
  shell.assumeBusy();
  expect(told).toEqual(["busy", "idle"]);
});

test("a kernel that is gone tells nothing more", () => {
  const { shell, told } = watch();
  shell.requestSent("a");
  shell.replyReceived("a");
  shell.close();
  vi.runAllTimers();
  shell.stateForOwn("a", "idle");
  expect(told).toEqual([]);
});
