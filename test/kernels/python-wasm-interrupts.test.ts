/** Interrupts of the embedded Python at the worst moments, staged. */
import { pathToFileURL } from "node:url";
import { join, dirname } from "node:path";
import { loadPyodide } from "pyodide";
import { expect, test } from "vitest";
import { Io } from "../../kernels/io.ts";
import { interruptBuffer } from "../../kernels/python-wasm/interrupt-buffer.ts";
import { SIGINT } from "../../kernels/python-wasm/protocol.ts";
import { Python } from "../../kernels/python-wasm/python.ts";
import { request } from "../../src/jupyter/client-message.ts";
import { pythonWasmProgram } from "./index.ts";

/** The buffer, with an interrupt of another thread right after its first reading. */
function struckAfterReading(signal: Uint8Array): Uint8Array {
  const buffer = interruptBuffer(signal);
  let isStruck = false;
  return {
    get 0() {
      const read = buffer[0];
      if (!isStruck) Atomics.store(signal, 0, SIGINT);
      isStruck = true;
      return read;
    },
    set 0(value: number | undefined) {
      buffer[0] = value ?? 0;
    },
  } as unknown as Uint8Array;
}

test("an interrupt between Pyodide's reading and its clearing is not lost", async () => {
  const signal = new Uint8Array(new SharedArrayBuffer(1));
  const pyodide = await loadPyodide();
  pyodide.setInterruptBuffer(struckAfterReading(signal));

  expect(() => {
    pyodide.runPython("for _ in range(100_000): pass");
  }).toThrow("KeyboardInterrupt");

  expect(signal[0]).toBe(0);
});

test("an interrupt takes effect once", () => {
  const signal = new Uint8Array([SIGINT]);
  const buffer = interruptBuffer(signal);
  const look = () => {
    const read = buffer[0];
    buffer[0] = 0;
    return read;
  };

  expect([look(), look()]).toEqual([SIGINT, 0]);
});

test("an interrupt that arrives before Python has the code is not lost", async () => {
  const program = join(dirname(pythonWasmProgram()), "python-wasm-worker.js");
  const python = new Python(pathToFileURL(program));
  try {
    const execution = request(
      "execute_request",
      { code: "while True: pass" },
      { session: "client", username: "tester", version: "5.3" },
    );
    const io = new Io({ ...execution, identities: [] }, () =>
      Promise.resolve(),
    );
    const cell = io.begin({ code: "while True: pass" });
    const answer = python.request(
      "execute",
      { ...cell, execution_count: 1 },
      io,
    );

    io.interrupt();
    python.interrupt();

    await expect(answer).rejects.toMatchObject({ ename: "KeyboardInterrupt" });
  } finally {
    await python.end();
  }
});
