/** JupyterLab and Notebook as a person has them: the program, with a server as its gateway, in a browser. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness.ts";
import { pythonWithJupyterLab, pythonWithNotebook } from "../kernels/python.ts";
import { Page, removeDirectory } from "../chromium.ts";
import { type Cuttable, cuttable } from "../client/harness.ts";

const TIMEOUT_MS = 60_000;
/** The time in which a click has an effect. */
const CLICK_TIMEOUT_MS = 10_000;
const MOST_CLICKS = 5;

export interface Lab extends AsyncDisposable {
  /** The network between the browser and JupyterLab. */
  readonly network: Cuttable;
  readonly page: Page;
  /** What JupyterLab's server printed. */
  readonly log: string;
  /** Opens a notebook with these cells, and waits for its kernel. */
  open(name: string, cells: readonly string[]): Promise<Notebook>;
  /** Loads the page again. */
  reload(): Promise<void>;
  /** The notebook after a reload; `false`: without waiting for its kernel. */
  reopen(name: string): Promise<Notebook>;
}

/** A program of Jupyter's with pages, in a browser. */
interface Front extends AsyncDisposable {
  readonly home: string;
  readonly network: Cuttable;
  readonly page: Page;
  readonly log: string;
}

/** Starts a program that uses the server at `url` as its gateway. `address`: its own, in what it prints. */
async function openFront(
  [python, module]: readonly [python: string | undefined, module: string],
  { url, token, address }: { url: string; token: string; address: RegExp },
): Promise<Front> {
  const home = mkdtempSync(join(tmpdir(), "kallichore-lab-"));
  const child = spawn(
    python ?? "",
    [
      "-m",
      module,
      "--allow-root",
      `--gateway-url=${url}`,
      "--IdentityProvider.token=front",
      "--port=0",
      "--no-browser",
      "--expose-app-in-browser",
      `--ServerApp.root_dir=${home}`,
    ],
    {
      env: { ...process.env, HOME: home, JUPYTER_GATEWAY_AUTH_TOKEN: token },
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  const ended = once(child, "exit");
  const kill = () => void child.kill("SIGKILL");
  process.once("exit", kill);
  let log = "";
  child.stderr.on("data", (data: Buffer) => (log += data.toString()));
  const own = await eventually(
    `the address of ${module}`,
    () => address.exec(log)?.[0],
    TIMEOUT_MS,
  );
  const network = await cuttable(own);
  const page = await Page.open();
  return {
    home,
    network,
    page,
    get log() {
      return log;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await ended;
      process.off("exit", kill);
      await network[Symbol.asyncDispose]();
      await page[Symbol.asyncDispose]();
      await removeDirectory(home);
    },
  };
}

/** Resolves when the application is in the page. */
async function untilRestored(page: Page): Promise<void> {
  await eventually(
    "the application in the page",
    async () =>
      (await page.evaluate<boolean>(
        `globalThis.jupyterapp !== undefined && jupyterapp.restored.then(() => true)`,
      ))
        ? true
        : undefined,
    TIMEOUT_MS,
  );
}

/** A page of Notebook with these cells, once it has a kernel. `url`: of the gateway. */
export async function openNotebook(
  url: string,
  token: string,
  cells: readonly string[],
): Promise<{ readonly notebook: Notebook } & AsyncDisposable> {
  const front = await openFront([pythonWithNotebook, "notebook"], {
    url,
    token,
    address: /http:\/\/127\.0\.0\.1:\d+(?=\/tree)/,
  });
  const { home, network, page } = front;
  writeFileSync(join(home, "a.ipynb"), notebookOf(cells));
  await page.goto(`${network.url}/notebooks/a.ipynb?token=front`);
  await untilRestored(page);
  await page.evaluate(`(async () => {
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    globalThis.panel = panel;
  })()`);
  const notebook = new Notebook(page);
  await notebook.untilStatus("idle");
  return {
    notebook,
    [Symbol.asyncDispose]: () => front[Symbol.asyncDispose](),
  };
}

/** `url`: of the gateway. */
export async function openLab(url: string, token: string): Promise<Lab> {
  const front = await openFront([pythonWithJupyterLab, "jupyterlab"], {
    url,
    token,
    address: /http:\/\/127\.0\.0\.1:\d+(?=\/lab)/,
  });
  const { home, network, page } = front;
  const load = async () => {
    await page.goto(`${network.url}/lab?token=front&reset`);
    await untilRestored(page);
  };
  await load();
  const reopen = async (name: string) => {
    await page.evaluate(`(async () => {
      await jupyterapp.serviceManager.ready;
      const panel = await jupyterapp.commands.execute("docmanager:open", {
        path: ${JSON.stringify(name)}, factory: "Notebook", kernel: { name: "python3" },
      });
      await panel.context.ready;
      await panel.sessionContext.ready;
      globalThis.panel = panel;
      jupyterapp.shell.activateById(panel.id);
    })()`);
    return new Notebook(page);
  };
  return {
    network,
    page,
    get log() {
      return front.log;
    },
    async open(name, cells) {
      writeFileSync(join(home, name), notebookOf(cells));
      const notebook = await reopen(name);
      await notebook.untilStatus("idle");
      return notebook;
    },
    reload: load,
    reopen,
    [Symbol.asyncDispose]: () => front[Symbol.asyncDispose](),
  };
}

/** The open notebook: its cells, and what their outputs are. */
export class Notebook {
  readonly #page: Page;

  constructor(page: Page) {
    this.#page = page;
  }

  /** Begins to run a cell. */
  async run(cell: number): Promise<void> {
    await this.#page.evaluate(`(() => {
      jupyterapp.shell.activateById(panel.id);
      panel.content.activeCellIndex = ${cell};
      globalThis.ran ??= [];
      ran[${cell}] = "runs";
      jupyterapp.commands.execute("notebook:run-cell").then(() => { ran[${cell}] = "done"; });
    })()`);
  }

  /** Runs a cell to its end, and resolves with its text. */
  async runToEnd(cell: number): Promise<string> {
    await this.run(cell);
    await this.untilDone(cell);
    return this.text(cell);
  }

  untilDone(cell: number): Promise<unknown> {
    return this.#until(
      `cell ${cell} to end`,
      `ran[${cell}] === "done" && panel.content.widgets[${cell}].model.executionState !== "running"`,
    );
  }

  /** What a cell printed or returned. */
  text(cell: number): Promise<string> {
    return this.#page.evaluate<string>(
      `panel.content.widgets[${cell}].model.outputs.toJSON().map((o) => [o.text ?? o.data?.["text/plain"] ?? o.evalue].flat().join("")).join("")`,
    );
  }

  untilText(cell: number, text: string): Promise<unknown> {
    return this.#until(
      `${JSON.stringify(text)} in cell ${cell}`,
      `panel.content.widgets[${cell}].model.outputs.toJSON().some((o) => [o.text].flat().join("").includes(${JSON.stringify(text)}))`,
    );
  }

  /** The kernel's status as the page shows it. */
  untilStatus(status: string): Promise<unknown> {
    return this.#until(
      `the kernel's status ${status}`,
      `panel.sessionContext.kernelDisplayStatus === ${JSON.stringify(status)}`,
    );
  }

  /**
   * Turns the debugger on. JupyterLab enables the button while it still restores
   * the debugger's state, and may drop a click of that time. A person who sees
   * that nothing happens clicks again.
   */
  async debug(): Promise<void> {
    const button = `panel.node.querySelector(".jp-DebuggerBugButton")`;
    const isOn = `${button}.ariaPressed === "true"`;
    await this.#until("a debugger", `${button}?.ariaDisabled === "false"`);
    for (let clicks = 1; ; clicks += 1) {
      await this.#page.evaluate(`${button}.click()`);
      try {
        await this.#until("the debugger", isOn, CLICK_TIMEOUT_MS);
        break;
      } catch (error) {
        if (clicks === MOST_CLICKS) throw error;
      }
    }
    const gutter = `panel.node.querySelector(".cm-breakpoint-gutter")`;
    await this.#until("places for breakpoints", `${gutter} !== null`);
  }

  async restart(): Promise<void> {
    await this.#page.evaluate(`panel.sessionContext.session.kernel.restart()`);
  }

  async reconnect(): Promise<void> {
    await this.#page.evaluate(
      `panel.sessionContext.session.kernel.reconnect()`,
    );
  }

  /** Resolves when an element is in the page. */
  untilThere(selector: string): Promise<unknown> {
    return this.#until(
      selector,
      `document.querySelector(${JSON.stringify(selector)}) !== null`,
    );
  }

  until(what: string, expression: string): Promise<unknown> {
    return this.#until(what, expression);
  }

  #until(
    what: string,
    expression: string,
    timeout_ms = TIMEOUT_MS,
  ): Promise<unknown> {
    return eventually(
      what,
      async () =>
        (await this.#page.evaluate<boolean>(expression)) ? true : undefined,
      timeout_ms,
    );
  }
}

function notebookOf(cells: readonly string[]): string {
  return JSON.stringify({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {
      kernelspec: { name: "python3", display_name: "Python 3" },
    },
    cells: cells.map((source, at) => ({
      id: `cell-${at}`,
      cell_type: "code",
      source,
      metadata: {},
      execution_count: null,
      outputs: [],
    })),
  });
}
