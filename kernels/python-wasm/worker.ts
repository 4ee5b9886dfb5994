/**
 * The thread in which Python runs. It does one thing at a time, which may take
 * long. Output of Python is sent at once. Signals and answers that must reach
 * Python in the meantime come through shared memory.
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
  unreadBytes,
  type WorkerRequest,
  type WorkerEvent,
  type WorkerData,
} from "./protocol.ts";
import { boot, snapshotFile } from "./snapshot.ts";

/** The functions of `kernel.py` that this thread calls. Contents are JSON. */
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

/** The object that `kernel.py` uses as its `host`. */
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
let runningId = 0; // the id of the cell that runs or that ran last
captureDescriptors(pyodide);
const directory = mountWorkingDirectory(pyodide);
const python = pyodide.pyimport(MODULE) as PythonKernel;
const python_version = python.start(
  hostOf(),
  JSON.stringify(environment(process.env)),
  directory,
);
parentPort?.on("message", (request: WorkerRequest) => void handle(request));
post({ kind: "ready", version: python_version, fromSnapshot });

async function handle(request: WorkerRequest): Promise<void> {
  if (request.kind === "interrupt") {
    const isPending = Atomics.load(signal, 0) === SIGINT; // otherwise running code has noticed it
    if (isPending && python.cancel()) Atomics.store(signal, 0, 0);
    return;
  }
  if (request.kind === "execute") runningId = request.id;
  let content: string;
  try {
    content = await answer(request);
  } catch (error) {
    content = JSON.stringify(failure(error));
  }
  post({ kind: "done", id: request.id, content });
}

async function answer(
  request: Exclude<WorkerRequest, { kind: "interrupt" }>,
): Promise<string> {
  switch (request.kind) {
    case "execute":
      return python.execute(request.id, request.content);
    case "comm":
      await python.comm(request.id, request.content, request.buffers);
      return "{}";
    case "complete":
      return python.complete(request.content);
    case "inspect":
      return python.examine(request.content);
    case "is_complete":
      return python.is_complete(request.content);
    case "comm_info":
      return python.comm_info(request.content);
  }
}

/** The answer for an error that Python did not handle: an interrupt at an unusual moment, or an internal error. */
function failure(error: unknown) {
  const text = error instanceof Error ? error.message : String(error);
  const ename = text.includes("KeyboardInterrupt")
    ? "KeyboardInterrupt"
    : "InternalError";
  return { status: "error", ename, evalue: "", traceback: text.split("\n") };
}

function hostOf() {
  return {
    /** From this call on, Python notices an interrupt between bytecodes. */
    arm: () => pyodide.setInterruptBuffer(interrupts),
    disarm: () => pyodide.setInterruptBuffer(undefined as never), // its type does not allow `undefined`, but Pyodide does

    stream: (id: number, name: "stdout" | "stderr", text: string) =>
      post({ kind: "stream", id, name, text }),

    publish: (
      id: number,
      msg_type: string,
      content: string,
      ...[metadata, buffers]: [string, readonly Uint8Array[]]
    ) => post({ kind: "publish", id, msg_type, content, metadata, buffers }),

    /** Returns the answer, or `undefined` at an interrupt. */
    input(id: number, prompt: string, password: boolean): string | undefined {
      while (receiveMessageOnPort(answers) !== undefined); // drops an answer that arrived with an interrupt
      post({ kind: "input", id, prompt, password });
      for (;;) {
        const seen = Atomics.load(words, WAKE);
        if (isInterrupted()) return undefined;
        const answered = receiveMessageOnPort(answers);
        if (answered !== undefined) return String(answered.message);
        Atomics.wait(words, WAKE, seen);
      }
    },

    /** Returns whether an interrupt ended the sleep. */
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

/** Takes the signal, as the interpreter does between bytecodes; Python must then raise the interrupt. */
function isInterrupted(): boolean {
  return Atomics.compareExchange(signal, 0, SIGINT, 0) === SIGINT;
}

/** worker → main thread. Waits while too many bytes of earlier events are unread. */
function post(event: WorkerEvent): void {
  const bytes = unreadBytes(event);
  if (bytes > 0) {
    Atomics.add(words, UNREAD, bytes);
    for (;;) {
      const seen = Atomics.load(words, WAKE);
      if (Atomics.load(words, UNREAD) - bytes < UNREAD_LIMIT) break;
      Atomics.wait(words, WAKE, seen);
    }
  }
  parentPort?.postMessage(event);
}

/** Makes direct writes to the file descriptors 1 and 2, as by `os.write`, output of the cell. */
function captureDescriptors(pyodide: PyodideAPI): void {
  const writerOf = (name: "stdout" | "stderr") => {
    const decoder = new TextDecoder(); // a character may be split over two writes
    return {
      write(bytes: Uint8Array): number {
        const text = decoder.decode(bytes, { stream: true });
        if (text !== "") post({ kind: "stream", id: runningId, name, text });
        return bytes.length;
      },
    };
  };
  pyodide.setStdout(writerOf("stdout"));
  pyodide.setStderr(writerOf("stderr"));
}

/** Installs `kernel.py` as a separate module next to the user's `__main__`. */
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

/** Mounts the working directory in Python under the same path. Returns Python's working directory. */
function mountWorkingDirectory(pyodide: PyodideAPI): string {
  const here = process.cwd();
  const there = process.platform === "win32" ? "/cwd" : here;
  if (there === "/") return HOME; // Python's own root is there
  try {
    pyodide.mountNodeFS(there, here);
    return there;
  } catch (error) {
    console.error(`Python does not see the files in ${here}:`, error);
    return HOME;
  }
}

/** The variables without those that are wrong for a Python in another file system. */
function environment(env: NodeJS.ProcessEnv): Record<string, string> {
  const kept = Object.entries(env).flatMap(([name, value]) =>
    value === undefined || /^(PYTHON|LD_|DYLD_|HOME$|PATH$)/.test(name)
      ? []
      : [[name, value] as const],
  );
  return Object.fromEntries(kept);
}
