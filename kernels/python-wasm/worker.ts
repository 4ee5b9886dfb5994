/**
 * The thread in which Python runs. It does one thing at a time, and may do it
 * for long: what Python says leaves at once, what it must hear meanwhile comes
 * through shared memory.
 */
import {
  parentPort,
  receiveMessageOnPort,
  workerData,
} from "node:worker_threads";
import { loadPyodide, version, type PyodideAPI } from "pyodide";
import { interruptBuffer } from "./interrupt-buffer.ts";
import kernelSource from "./kernel.py";
import {
  SIGINT,
  UNREAD,
  UNREAD_LIMIT,
  WAKE,
  weight,
  type WorkerRequest,
  type WorkerEvent,
  type WorkerData,
} from "./protocol.ts";
import { boot, snapshotFile } from "./snapshot.ts";

/** The functions of `kernel.py` that are called from here. Contents are JSON. */
interface PythonKernel {
  start(host: Host, environment: string, directory: string): string;
  execute(id: number, content: string): Promise<string>;
  comm(
    id: number,
    content: string,
    buffers: readonly Uint8Array[],
  ): Promise<void>;
  complete(content: string): string;
  examine(content: string): string;
  is_complete(content: string): string;
  comm_info(content: string): string;
  cancel(): boolean;
}

/** What `kernel.py` finds in its `host`. */
type Host = ReturnType<typeof hostOf>;

const HOME = "/home/pyodide"; // Pyodide's default
const MODULE = "wasm_kernel";
const { memory, answers } = workerData as WorkerData;
const signal = new Uint8Array(memory, 0, 1);
const words = new Int32Array(memory);
const interrupts = interruptBuffer(signal);

const { pyodide, fromSnapshot } = await boot(
  loadPyodide,
  snapshotFile(version, kernelSource),
  install,
);
let runningId = 0; // of the cell that runs, or ran last
captureDescriptors(pyodide);
const directory = mountWorkingDirectory(pyodide);
const python = pyodide.pyimport(MODULE) as PythonKernel;
const python_version = python.start(
  hostOf(),
  JSON.stringify(environment(process.env)),
  directory,
);
parentPort?.on("message", (asked: WorkerRequest) => void attend(asked));
say({ kind: "ready", version: python_version, fromSnapshot });

async function attend(asked: WorkerRequest): Promise<void> {
  if (asked.kind === "interrupt") {
    const isPending = Atomics.load(signal, 0) === SIGINT; // otherwise code that ran has noticed it
    if (isPending && python.cancel()) Atomics.store(signal, 0, 0);
    return;
  }
  if (asked.kind === "execute") runningId = asked.id;
  let content: string;
  try {
    content = await answer(asked);
  } catch (error) {
    content = JSON.stringify(failure(error));
  }
  say({ kind: "done", id: asked.id, content });
}

async function answer(
  asked: Exclude<WorkerRequest, { kind: "interrupt" }>,
): Promise<string> {
  switch (asked.kind) {
    case "execute":
      return python.execute(asked.id, asked.content);
    case "comm":
      await python.comm(asked.id, asked.content, asked.buffers);
      return "{}";
    case "complete":
      return python.complete(asked.content);
    case "inspect":
      return python.examine(asked.content);
    case "is_complete":
      return python.is_complete(asked.content);
    case "comm_info":
      return python.comm_info(asked.content);
  }
}

/** What Python itself did not turn into an answer: an interrupt at an odd moment, or a fault of ours. */
function failure(error: unknown) {
  const text = error instanceof Error ? error.message : String(error);
  const ename = text.includes("KeyboardInterrupt")
    ? "KeyboardInterrupt"
    : "InternalError";
  return { status: "error", ename, evalue: "", traceback: text.split("\n") };
}

function hostOf() {
  return {
    /** From here on, an interrupt is noticed between bytecodes. */
    arm: () => pyodide.setInterruptBuffer(interrupts),
    disarm: () => pyodide.setInterruptBuffer(undefined as never), // which its own type forgets

    stream: (id: number, name: "stdout" | "stderr", text: string) =>
      say({ kind: "stream", id, name, text }),

    publish: (
      id: number,
      msg_type: string,
      content: string,
      ...[metadata, buffers]: [string, readonly Uint8Array[]]
    ) => say({ kind: "publish", id, msg_type, content, metadata, buffers }),

    /** The answer, or `undefined` for an interrupt. */
    input(id: number, prompt: string, password: boolean): string | undefined {
      while (receiveMessageOnPort(answers) !== undefined); // an answer that came with an interrupt
      say({ kind: "input", id, prompt, password });
      for (;;) {
        const seen = Atomics.load(words, WAKE);
        if (isInterrupted()) return undefined;
        const answered = receiveMessageOnPort(answers);
        if (answered !== undefined) return String(answered.message);
        Atomics.wait(words, WAKE, seen);
      }
    },

    /** Whether an interrupt ended it. */
    sleep(duration_ms: number): boolean {
      const end = performance.now() + duration_ms;
      for (;;) {
        const seen = Atomics.load(words, WAKE);
        if (isInterrupted()) return true;
        const left_ms = end - performance.now();
        if (left_ms <= 0) return false;
        Atomics.wait(words, WAKE, seen, left_ms);
      }
    },
  };
}

/** Takes the signal, as the interpreter would between bytecodes; it is then Python's to raise. */
function isInterrupted(): boolean {
  return Atomics.compareExchange(signal, 0, SIGINT, 0) === SIGINT;
}

/** worker → main thread. Waits while too much of what was said before is unread. */
function say(said: WorkerEvent): void {
  const heavy = weight(said);
  if (heavy > 0) {
    Atomics.add(words, UNREAD, heavy);
    for (;;) {
      const seen = Atomics.load(words, WAKE);
      if (Atomics.load(words, UNREAD) - heavy < UNREAD_LIMIT) break;
      Atomics.wait(words, WAKE, seen);
    }
  }
  parentPort?.postMessage(said);
}

/** What is written to the file descriptors 1 and 2 themselves, as by `os.write`, is output of the cell too. */
function captureDescriptors(pyodide: PyodideAPI): void {
  const writerOf = (name: "stdout" | "stderr") => {
    const decoder = new TextDecoder(); // a character may come in two writes
    return {
      write(bytes: Uint8Array): number {
        const text = decoder.decode(bytes, { stream: true });
        if (text !== "") say({ kind: "stream", id: runningId, name, text });
        return bytes.length;
      },
    };
  };
  pyodide.setStdout(writerOf("stdout"));
  pyodide.setStderr(writerOf("stderr"));
}

/** Makes `kernel.py` a module of its own, beside the user's `__main__`. */
function install(pyodide: PyodideAPI): void {
  pyodide.runPython(`
def _install(source):
    import sys, types
    module = sys.modules["${MODULE}"] = types.ModuleType("${MODULE}")
    exec(compile(source, "<kernel>", "exec"), module.__dict__)
_install(${JSON.stringify(kernelSource)})
del _install
`);
}

/** The files around the kernel, under the same names. Returns where Python shall stand. */
function mountWorkingDirectory(pyodide: PyodideAPI): string {
  const here = process.cwd();
  const there = process.platform === "win32" ? "/cwd" : here;
  if (there === "/") return HOME; // Python's own root lies there
  try {
    pyodide.mountNodeFS(there, here);
    return there;
  } catch (error) {
    console.error(`Python does not see the files in ${here}:`, error);
    return HOME;
  }
}

/** Without what would mislead a Python that lives in another file system. */
function environment(env: NodeJS.ProcessEnv): Record<string, string> {
  const kept = Object.entries(env).flatMap(([name, value]) =>
    value === undefined || /^(PYTHON|LD_|DYLD_|HOME$|PATH$)/.test(name)
      ? []
      : [[name, value] as const],
  );
  return Object.fromEntries(kept);
}
