/**
 * The echo kernel, as a kernel on Windows should be: it waits for the interrupt
 * event, as ipykernel does, and counts it in EVENTS. With DEAF it does not, and
 * accepts only the message. With GRANDCHILD it has a detached child, whose pid
 * is then that variable's value.
 */
import { spawn } from "node:child_process";
import * as koffi from "koffi";

/** A wait in another thread delays the end of Node; so it is short, and repeated. */
const A_WHILE_MS = 200;
const WAIT_OBJECT_0 = 0;

const event = Number(process.env["JPY_INTERRUPT_EVENT"] ?? "0");
const wait = koffi
  .load("kernel32.dll")
  .func("uint32_t WaitForSingleObject(intptr_t handle, uint32_t milliseconds)");

let events = 0;

function listen(): void {
  wait.async(event, A_WHILE_MS, (_error: unknown, how: unknown) => {
    if (how === WAIT_OBJECT_0) {
      process.env["EVENTS"] = `${++events}`;
      process.emit("SIGINT");
    }
    listen();
  });
}
if (event !== 0 && process.env["DEAF"] === undefined) listen();

if (process.env["GRANDCHILD"] !== undefined) {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], {
    detached: true,
    stdio: "ignore",
  });
  child.unref();
  process.env["GRANDCHILD"] = String(child.pid);
}

await import("../kernels/echo.ts");
