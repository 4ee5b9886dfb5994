/** The embedded Python, as a real process with real sockets. */
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { contentOf } from "../../src/jupyter/message.ts";
import { pythonWasmKernelspec } from "../../kernels/python-wasm/kernelspec.ts";
import { pythonWasmProgram } from "./index.ts";
import {
  connect,
  launch,
  toPair,
  type Content,
  type Launched,
  type RawClient,
} from "./raw-client.ts";

let folder: string;
let kernel: Launched;
let client: RawClient;

/** The very first start, which makes the snapshot; most tests share this kernel. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "python-wasm-"));
  kernel = await start();
  client = await connect(kernel.connection);
}, 60_000);

afterAll(async () => {
  client[Symbol.dispose]();
  await kernel[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

function start(env: Readonly<Record<string, string>> = {}): Promise<Launched> {
  const { argv } = pythonWasmKernelspec(pythonWasmProgram());
  return launch({ argv, env: { KALLICHORE_CACHE_DIR: folder, ...env } });
}

/** The value of the last expression, as text. */
async function value(code: string): Promise<unknown> {
  const { outputs, reply } = await client.run(code);
  expect(reply).toMatchObject({ status: "ok" });
  const result = outputs.find(([type]) => type === "execute_result");
  return (result?.[1]["data"] as Content | undefined)?.["text/plain"];
}

async function streamed(code: string, name = "stdout"): Promise<string> {
  const { outputs } = await client.run(code);
  return outputs
    .filter(([type, content]) => type === "stream" && content["name"] === name)
    .map(([, { text }]) => String(text))
    .join("");
}

describe("executing", () => {
  test("printed text arrives as a stream, before the result", async () => {
    const { outputs } = await client.run("print('hello'); 6 * 7");

    expect(outputs.slice(1)).toMatchObject([
      ["stream", { name: "stdout", text: "hello\n" }],
      ["execute_result", { data: { "text/plain": "42" } }],
    ]);
  });

  test("ten thousand printed lines arrive completely, in few messages", async () => {
    const { outputs } = await client.run("for i in range(10000): print(i)");

    const streams = outputs.filter(([type]) => type === "stream");
    const text = streams.map(([, content]) => content["text"]).join("");
    expect(text.trimEnd().split("\n").map(Number)).toEqual(
      Array.from({ length: 10_000 }, (_, i) => i),
    );
    expect(streams.length).toBeLessThan(1_000);
  });

  test("text that is written past sys.stdout is output too, in order", async () => {
    const code = `
import os, sys
print("one", flush=True)
os.write(1, b"two\\n")
os.write(1, "\u00e9".encode()[:1]); os.write(1, "\u00e9\\n".encode()[1:])
sys.__stdout__.write("four\\n")
print("five")
os.write(2, b"oh\\n"); sys.__stderr__.write("no\\n")
`;
    const { outputs } = await client.run(code);

    const textOf = (stream: string) =>
      outputs
        .filter(([type, { name }]) => type === "stream" && name === stream)
        .map(([, { text }]) => String(text))
        .join("");
    expect(textOf("stdout")).toBe("one\ntwo\n\u00e9\nfour\nfive\n");
    expect(textOf("stderr")).toBe("oh\nno\n");
  });

  test("an unavailable package is an error that names this Python, and how to get another", async () => {
    const { reply } = await client.run("import numpy");

    expect(reply).toMatchObject({ ename: "ModuleNotFoundError" });
    const reported = (reply["traceback"] as string[]).join("\n");
    expect(reported).toContain("No module named 'numpy'");
    expect(reported).toMatch(
      /This kernel is Python 3\.\d+\.\d+ in WebAssembly/,
    );
    expect(reported).toContain("python -m pip install ipykernel");
  });

  test("stderr has its own stream", async () => {
    expect(
      await streamed("import sys; print('oh', file=sys.stderr)", "stderr"),
    ).toBe("oh\n");
  });

  test("a line without a line end is sent when the cell ends", async () => {
    expect(await streamed("print('no end', end='')")).toBe("no end");
  });

  test("an error has a traceback with the cell's lines and no lines of the kernel", async () => {
    const { outputs, reply } = await client.run(
      "def f():\n    return 1 / 0\nf()",
    );

    const [type, error] = outputs.at(-1) ?? [];
    expect(type).toBe("error");
    expect(error).toMatchObject({
      ename: "ZeroDivisionError",
      evalue: "division by zero",
    });
    const traceback = (error?.["traceback"] as string[]).join("\n");
    expect(traceback).toContain("    return 1 / 0");
    expect(traceback).not.toContain("<kernel>");
    expect(reply).toMatchObject({
      status: "error",
      ename: "ZeroDivisionError",
    });
  });

  test("a syntax error shows its position", async () => {
    const { reply } = await client.run("x = = 1");

    expect(reply).toMatchObject({ ename: "SyntaxError" });
    expect((reply["traceback"] as string[])[2]).toMatch(/^ +\^/);
  });

  test("a magic is an error that says that there are no magics", async () => {
    const { reply } = await client.run("%timeit 1");

    expect((reply["traceback"] as string[]).at(-1)).toMatch(/^Magics/);
  });

  test("after an error the kernel continues, and keeps its variables", async () => {
    await client.run("kept = 1");
    await client.run("1 / 0");

    expect(await value("kept")).toBe("1");
  });

  test("results are available as _, __ and Out", async () => {
    await value("'first'");
    await value("'second'");

    expect(await value("(__, _)")).toBe("('first', 'second')");
    expect(await value("Out[max(Out)] is _")).toBe("True");
  });

  test("sys.exit is an ordinary error, and the kernel continues", async () => {
    expect((await client.run("import sys; sys.exit(3)")).reply).toMatchObject({
      ename: "SystemExit",
      evalue: "3",
    });
    expect(await value("1")).toBe("1");
  });

  test("asyncio.run works if the runtime can suspend a stack; otherwise the error says what to write", async () => {
    const { reply } = await client.run(
      "import asyncio\nasync def main(): pass\nasyncio.run(main())",
    );

    const runs = reply["status"] === "ok";
    expect(runs || String(reply["evalue"]).includes("await")).toBe(true);
  });

  test("a semicolon hides the result", async () => {
    expect(await value("1;")).toBeUndefined();
  });

  test("await works at the top level", async () => {
    expect(
      await value("import asyncio\nawait asyncio.sleep(0.01, 'woken')"),
    ).toBe("'woken'");
  });

  test("the output of a task belongs to the cell that made it", async () => {
    const made = await client.execute(
      "import asyncio\nasync def later():\n    await asyncio.sleep(0.05)\n    print('later')\ntask = asyncio.create_task(later())",
    );
    await client.outputs(made);

    const printed = await client.wait(
      ({ header, parent_header }) =>
        header.msg_type === "stream" && parent_header?.msg_id === made,
    );

    expect(contentOf(printed)).toEqual({ name: "stdout", text: "later\n" });
  });

  test("a silent execution sends no output and is not counted", async () => {
    const { reply: before } = await client.run("1");
    const { outputs } = await client.run("7", { silent: true });
    const { reply: after } = await client.run("1");

    expect(outputs).toEqual([]);
    expect(after["execution_count"]).toBe(
      Number(before["execution_count"]) + 1,
    );
  });

  test("user_expressions are answered one by one", async () => {
    const { reply } = await client.run("a = 3", {
      user_expressions: { good: "a + 1", bad: "nowhere" },
    });

    expect(reply["user_expressions"]).toMatchObject({
      good: { status: "ok", data: { "text/plain": "4" } },
      bad: { status: "error", ename: "NameError" },
    });
  });

  test("files of the working directory are available", async () => {
    expect(await value("open('package.json').read(13)")).toContain("name");
  });
});

describe("showing", () => {
  test("a value is displayed in every form that it has", async () => {
    const { outputs } = await client.run(`
class Rich:
    def __repr__(self): return "plain"
    def _repr_html_(self): return "<b>rich</b>"
    def _repr_png_(self): return b"\\x89PNG"
    def _repr_svg_(self): return "<svg/>"
    def _repr_latex_(self): return "$x$"
    def _repr_json_(self): return {"a": [1]}
    def _repr_markdown_(self): return "*m*", {"about": 1}
    def _repr_mimebundle_(self, include=None, exclude=None): return {"application/x-own": 1}
Rich()`);

    expect(outputs.at(-1)?.[1]).toMatchObject({
      data: {
        "text/plain": "plain",
        "text/html": "<b>rich</b>",
        "image/png": Buffer.from("\x89PNG", "latin1").toString("base64"),
        "image/svg+xml": "<svg/>",
        "text/latex": "$x$",
        "application/json": { a: [1] },
        "text/markdown": "*m*",
        "application/x-own": 1,
      },
      metadata: { "text/markdown": { about: 1 } },
    });
  });

  test("a display is updated by its id", async () => {
    const { outputs } = await client.run(
      "handle = display('one', display_id='d'); handle.update('two'); clear_output(wait=True)",
    );

    expect(outputs.slice(1)).toMatchObject([
      [
        "display_data",
        { data: { "text/plain": "'one'" }, transient: { display_id: "d" } },
      ],
      [
        "update_display_data",
        { data: { "text/plain": "'two'" }, transient: { display_id: "d" } },
      ],
      ["clear_output", { wait: true }],
    ]);
  });

  test("code for notebooks can import IPython.display", async () => {
    const { outputs } = await client.run(
      "from IPython.display import HTML, display\ndisplay(HTML('<i>x</i>'))",
    );

    expect(outputs.at(-1)).toMatchObject([
      "display_data",
      { data: { "text/html": "<i>x</i>" } },
    ]);
  });

  test("NaN becomes null, because JSON has no NaN", async () => {
    const { outputs } = await client.run(
      "display({'application/json': float('nan')}, raw=True)",
    );

    expect(outputs.at(-1)?.[1]).toMatchObject({
      data: { "application/json": null },
    });
  });
});

describe("input", () => {
  async function answered(code: string, reply: string) {
    const msg_id = await client.execute(code);
    const question = await client.wait(
      ({ channel, parent_header }) =>
        channel === "stdin" && parent_header?.msg_id === msg_id,
    );
    await client.request("stdin", "input_reply", { value: reply });
    const outputs = (await client.outputs(msg_id)).map(toPair);
    return { question: contentOf(question), outputs };
  }

  test("input() waits for the client's answer", async () => {
    const { question, outputs } = await answered("input('Name? ')", "Zoë 𝄞");

    expect(question).toEqual({ prompt: "Name? ", password: false });
    expect(outputs.at(-1)).toMatchObject([
      "execute_result",
      { data: { "text/plain": "'Zoë 𝄞'" } },
    ]);
  });

  test("getpass asks for a password", async () => {
    const { question } = await answered(
      "import getpass; len(getpass.getpass('Secret: '))",
      "s",
    );

    expect(question).toEqual({ prompt: "Secret: ", password: true });
  });

  test("input() is an error if the client does not allow it", async () => {
    const { reply } = await client.run("input()", { allow_stdin: false });

    expect(reply).toMatchObject({ ename: "StdinNotImplementedError" });
  });
});

describe("interrupting", () => {
  test.each([
    ["a busy loop", "while True: pass"],
    ["time.sleep", "import time\ntime.sleep(1000)"],
    ["an await", "import asyncio\nawait asyncio.sleep(1000)"],
    ["input()", "input('never answered')"],
    ["a flood", "while True: print('x' * 1000)"],
  ])(
    "%s ends with KeyboardInterrupt, and the kernel continues",
    async (_, code) => {
      const msg_id = await client.execute(code);
      await client.wait(
        ({ header, parent_header }) =>
          header.msg_type === "execute_input" &&
          parent_header?.msg_id === msg_id,
      );

      await client.ask("interrupt_request", {}, "control");

      expect(await client.reply(msg_id)).toMatchObject({
        status: "error",
        ename: "KeyboardInterrupt",
      });
      expect(await value("1 + 1")).toBe("2");
    },
  );

  test("SIGINT does the same", async () => {
    const msg_id = await client.execute("print('on'); \nwhile True: pass");
    await client.wait(
      ({ header, parent_header }) =>
        header.msg_type === "stream" && parent_header?.msg_id === msg_id,
    );

    kernel.child.kill("SIGINT");

    expect(await client.reply(msg_id)).toMatchObject({
      ename: "KeyboardInterrupt",
    });
  });

  test("the code may catch it", async () => {
    const msg_id = await client.execute(
      "try:\n    print('on')\n    while True: pass\nexcept KeyboardInterrupt:\n    print('caught')",
    );
    await client.wait(
      ({ header, parent_header }) =>
        header.msg_type === "stream" && parent_header?.msg_id === msg_id,
    );
    await client.ask("interrupt_request", {}, "control");

    const outputs = (await client.outputs(msg_id)).map(toPair);
    expect(outputs.at(-1)).toMatchObject(["stream", { text: "caught\n" }]);
    expect(await client.reply(msg_id)).toMatchObject({ status: "ok" });
  });

  test("an interrupt of an idle kernel does not affect the next code", async () => {
    await client.ask("interrupt_request", {}, "control");

    expect(await value("sum(range(100000))")).toBe("4999950000");
  });
});

describe("questions about code", () => {
  test("completion counts code points, not UTF-16 units", async () => {
    await client.run("import os");
    const code = "'𝄞'; os.pathse";

    const reply = await client.ask("complete_request", {
      code,
      cursor_pos: Array.from(code).length,
    });

    expect(reply).toMatchObject({
      matches: ["os.pathsep"],
      cursor_start: 5,
      cursor_end: 14,
    });
  });

  test("modules are completed after import", async () => {
    const code = "import stati";

    const { matches } = await client.ask("complete_request", {
      code,
      cursor_pos: code.length,
    });

    expect(matches).toContain("statistics");
  });

  test("inspection shows the signature and the docstring; at level 1 the source", async () => {
    await client.run(
      'def greet(name="you"):\n    """Says hello."""\n    return name',
    );
    const about = { code: "greet(", cursor_pos: 6 };

    const brief = await client.ask("inspect_request", about);
    const full = await client.ask("inspect_request", {
      ...about,
      detail_level: 1,
    });

    expect(brief).toMatchObject({ status: "ok", found: true });
    expect(textOf(brief)).toContain("greet(name='you')");
    expect(textOf(brief)).toContain("Says hello.");
    expect(textOf(brief)).not.toContain("return name");
    expect(textOf(full)).toContain("return name");
  });

  test("an unknown name is not found", async () => {
    expect(
      await client.ask("inspect_request", {
        code: "nowhere.at",
        cursor_pos: 7,
      }),
    ).toMatchObject({ status: "ok", found: false });
  });

  test.each([
    ["1 + 1", { status: "complete" }],
    ["await thing", { status: "complete" }],
    ["for x in y:", { status: "incomplete", indent: "    " }],
    ["if x:\n    y", { status: "incomplete", indent: "    " }],
    ["if x:\n    y\n", { status: "complete" }],
    ["'''open", { status: "incomplete" }],
    ["x = = 1", { status: "invalid" }],
  ])("%j has the expected completeness", async (code, judgement) => {
    expect(await client.ask("is_complete_request", { code })).toMatchObject(
      judgement,
    );
  });

  test("the history contains the code and the results", async () => {
    await client.run("'for history'");

    const { history } = await client.ask("history_request", {
      hist_access_type: "tail",
      output: true,
      n: 1,
    });

    expect(history).toMatchObject([
      [1, expect.any(Number), ["'for history'", "'for history'"]],
    ]);
  });

  test("kernel_info is answered on control, too", async () => {
    expect(
      await client.ask("kernel_info_request", {}, "control"),
    ).toMatchObject({
      status: "ok",
      language_info: {
        name: "python",
        version: expect.stringMatching(/^3\./) as string,
      },
    });
  });

  function textOf({ data }: Content): string {
    return String((data as Content)["text/plain"]);
  }
});

test("a comm carries data and buffers both ways", async () => {
  await client.run(`
import comm
def opened(one, message):
    one.on_msg(lambda message: one.send({"got": message["content"]["data"]}, buffers=[bytes(b)[::-1] for b in message["buffers"]]))
comm.get_comm_manager().register_target("mirror", opened)`);
  await client.request("shell", "comm_open", {
    comm_id: "c1",
    target_name: "mirror",
    data: {},
  });

  const msg_id = await client.request(
    "shell",
    "comm_msg",
    { comm_id: "c1", data: { n: 1 } },
    [Buffer.from([1, 2, 3]), Buffer.alloc(0)],
  );

  const [sent] = await client.outputs(msg_id);
  expect(sent && contentOf(sent)).toEqual({
    comm_id: "c1",
    data: { got: { n: 1 } },
  });
  expect(sent?.buffers.map((buffer) => [...buffer])).toEqual([[3, 2, 1], []]);
  expect(await client.ask("comm_info_request")).toMatchObject({
    comms: { c1: { target_name: "mirror" } },
  });
});

describe("starting", () => {
  test("the first start writes a snapshot that only its user can read", async () => {
    const [name = "", ...others] = await readdir(folder);

    expect(others).toEqual([]);
    expect(name).toMatch(/^python-wasm-.*\.snapshot$/);
    expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    expect(kernel.stderr).toBe("");
  });

  test("two starts from one snapshot do not repeat each other's random numbers", async () => {
    const code = "import random; random.random()";
    await using other = await start();
    using otherClient = await connect(other.connection);

    const { outputs } = await otherClient.run(code);

    expect(outputs.at(-1)).not.toMatchObject([
      "execute_result",
      { data: { "text/plain": await value(code) } },
    ]);
  });

  test("the environment is that of the kernel", async () => {
    await using other = await start({ FOR_PYTHON: "ünï" });
    using otherClient = await connect(other.connection);

    const { outputs } = await otherClient.run(
      "import os; os.environ['FOR_PYTHON']",
    );

    expect(outputs.at(-1)?.[1]).toMatchObject({
      data: { "text/plain": "'ünï'" },
    });
  });

  test("a damaged snapshot is reported, and not used", async () => {
    const broken = await mkdtemp(join(tmpdir(), "python-wasm-"));
    const [name = ""] = await readdir(folder);
    await writeFile(join(broken, name), "no snapshot", { mode: 0o600 });
    {
      await using other = await start({ KALLICHORE_CACHE_DIR: broken });
      using otherClient = await connect(other.connection);

      expect((await otherClient.run("1")).reply).toMatchObject({
        status: "ok",
      });
      expect(other.stderr).toContain("Python starts without a snapshot");
    }
    await rm(broken, { recursive: true });
  });

  test.each([
    ["exit()", 0],
    ["import os; os._exit(3)", 3],
  ])("%s ends the kernel", async (code, status) => {
    await using other = await start();
    using otherClient = await connect(other.connection);

    await otherClient.execute(code);

    expect(await other.exited).toBe(status);
  });

  test("shutdown_request ends the kernel after its answer", async () => {
    const other = await start();
    using otherClient = await connect(other.connection);

    const reply = await otherClient.ask(
      "shutdown_request",
      { restart: false },
      "control",
    );

    expect(reply).toEqual({ status: "ok", restart: false });
    expect(await other.exited).toBe(0);
    await other[Symbol.asyncDispose]();
  });

  test("shutdown_request ends the kernel during a busy loop", async () => {
    await using other = await start();
    using otherClient = await connect(other.connection);
    await otherClient.execute("while True: pass");

    await otherClient.ask("shutdown_request", { restart: false }, "control");

    expect(await other.exited).toBe(0);
  });
});
