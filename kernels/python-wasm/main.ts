/**
 * The embedded default kernel: CPython in WebAssembly, for machines that have
 * only Node. It is started with a connection file, like any kernel.
 *
 * The sockets and Python start at the same time. `kernel_info_request` is
 * answered only when Python is ready.
 */
import type { Io } from "../io.ts";
import type { KernelInfo } from "../kernel.ts";
import { runKernel } from "../serve.ts";
import { lineHistory } from "./history.ts";
import { limits } from "./kernelspec.ts";
import { Python } from "./python.ts";

const python = new Python(new URL("./python-wasm-worker.js", import.meta.url));
python.died.catch(exit);
const history = lineHistory();

await runKernel({
  kernelInfo: kernelInfo(""),
  protocol_version: "5.5",
  welcome: true,
  handlers: {
    kernel_info: async () => ({ ...kernelInfo(await python.ready) }),
    async execute(request, io) {
      const { execution_count } = io;
      const ran = request.store_history
        ? history.add(execution_count, request.code)
        : () => {};
      const { result, exiting, ...reply } = await python.request(
        "execute",
        { ...request, execution_count },
        io,
      );
      if (typeof result === "string") ran(result);
      if (exiting !== true) return reply;
      io.endKernel();
      return { ...reply, payload: [{ source: "ask_exit", keepkernel: false }] };
    },
    complete: (content, io) =>
      python.request("complete", { cursor_pos: 0, ...content }, io),
    inspect: (content, io) =>
      python.request("inspect", { cursor_pos: 0, ...content }, io),
    is_complete: (content, io) => python.request("is_complete", content, io),
    history: (content) => history.answer(content),
    comm_info: (content, io) => python.request("comm_info", content, io),
    comm: (content, io) => python.request("comm", commOf(content, io), io),
    interrupt: () => python.interrupt(),
    shutdown: () => python.end(),
  },
});

/** Python has crashed, or code has called `os._exit`. */
function exit(error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  const exitCode = /^Program terminated with exit\((\d+)\)/.exec(message)?.[1];
  if (exitCode !== undefined) process.exit(Number(exitCode));
  if (code === "ERR_MODULE_NOT_FOUND") {
    console.error(
      "The optional package pyodide is missing: npm install pyodide",
    );
  }
  console.error("Python ended:", error);
  process.exit(1);
}

/** A message without its buffers, as the callback of a comm gets it. */
function commOf(content: unknown, { request }: Io) {
  const { header, parent_header = {} } = request;
  return { header, parent_header, msg_type: header.msg_type, content };
}

function kernelInfo(version: string): KernelInfo {
  return {
    protocol_version: "5.5",
    implementation: "kallichore-python-wasm",
    implementation_version: "0.1.0",
    language_info: {
      name: "python",
      version,
      mimetype: "text/x-python",
      file_extension: ".py",
      pygments_lexer: "ipython3",
      codemirror_mode: { name: "ipython", version: 3 },
      nbconvert_exporter: "python",
    },
    banner: `Python ${version} in WebAssembly: ${limits.join("; ")}`,
    help_links: [
      { text: "Python", url: "https://docs.python.org/3.14" },
      { text: "Pyodide", url: "https://pyodide.org" },
    ],
  };
}
