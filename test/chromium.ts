/** Chromium without a window, driven by its own protocol (CDP): one page, in which scripts are run and keys are pressed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";

export const CHROMIUM = "/usr/bin/chromium";

interface Reply {
  readonly id?: number;
  readonly method?: string;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

export class Page implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #close: () => Promise<void>;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #listeners = new Map<string, () => void>();
  #count = 0;

  private constructor(socket: WebSocket, close: () => Promise<void>) {
    this.#socket = socket;
    this.#close = close;
    socket.on("message", (data: Buffer) => {
      const reply = JSON.parse(data.toString()) as Reply;
      if (reply.id === undefined) {
        this.#listeners.get(reply.method ?? "")?.();
        // "Leave the page? Changes are not saved."
        if (reply.method === "Page.javascriptDialogOpening") {
          void this.#send("Page.handleJavaScriptDialog", { accept: true });
        }
        return;
      }
      this.#waiting.get(reply.id)?.(reply);
      this.#waiting.delete(reply.id);
    });
  }

  static async open(): Promise<Page> {
    const profile = mkdtempSync(join(tmpdir(), "kallichore-chromium-"));
    const child = spawn(
      CHROMIUM,
      [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,1000",
        `--user-data-dir=${profile}`,
        "--remote-debugging-port=0",
        "about:blank",
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    const ended = once(child, "exit");
    const kill = () => void child.kill("SIGKILL");
    process.once("exit", kill);
    const close = async () => {
      kill();
      await ended;
      process.off("exit", kill);
      await removeDirectory(profile);
    };
    try {
      const port = await debuggingPort(child.stderr);
      const pages = (await (
        await fetch(`http://127.0.0.1:${port}/json/list`)
      ).json()) as { type: string; webSocketDebuggerUrl: string }[];
      const address = pages.find(({ type }) => type === "page");
      const socket = new WebSocket(address?.webSocketDebuggerUrl ?? "", {
        perMessageDeflate: false,
      });
      await once(socket, "open");
      const page = new Page(socket, close);
      await page.#send("Page.enable", {});
      // A page without the focus has no current notebook.
      await page.#send("Emulation.setFocusEmulationEnabled", { enabled: true });
      return page;
    } catch (error) {
      await close();
      throw error;
    }
  }

  /** Resolves when the page has loaded. */
  async goto(url: string): Promise<void> {
    const loaded = new Promise<void>((resolve) =>
      this.#listeners.set("Page.loadEventFired", resolve),
    );
    await this.#send("Page.navigate", { url });
    await loaded;
  }

  /** The value of an expression in the page; a promise is waited for. Rejects with what it throws. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.#send("Runtime.evaluate", {
      expression: `(async () => (${expression}))()`,
      awaitPromise: true,
      returnByValue: true,
      userGesture: true,
    })) as {
      readonly result: { readonly value: T };
      readonly exceptionDetails?: {
        readonly text: string;
        readonly exception?: { readonly description?: string };
      };
    };
    if (exceptionDetails === undefined) return result.value;
    const { text, exception } = exceptionDetails;
    throw new Error(exception?.description ?? text);
  }

  /** Types into what has the focus. */
  async type(text: string): Promise<void> {
    await this.#send("Input.insertText", { text });
  }

  async pressEnter(): Promise<void> {
    const key = { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13 };
    await this.#send("Input.dispatchKeyEvent", {
      type: "keyDown",
      text: "\r",
      ...key,
    });
    await this.#send("Input.dispatchKeyEvent", { type: "keyUp", ...key });
  }

  /** Clicks into the middle of an element. */
  async click(element: string): Promise<void> {
    const { x, y } = await this.evaluate<{ x: number; y: number }>(
      `(() => { const e = ${element}; e.scrollIntoView({ block: "center" }); const r = e.getBoundingClientRect(); return { x: r.x + r.width / 2, y: r.y + r.height / 2 }; })()`,
    );
    const button = { x, y, button: "left", clickCount: 1 };
    await this.#send("Input.dispatchMouseEvent", { type: "mouseMoved", x, y });
    for (const type of ["mousePressed", "mouseReleased"]) {
      await this.#send("Input.dispatchMouseEvent", { type, ...button });
    }
  }

  /** A picture of the page, as PNG. */
  async picture(): Promise<Buffer> {
    const { data } = (await this.#send("Page.captureScreenshot", {})) as {
      readonly data: string;
    };
    return Buffer.from(data, "base64");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.terminate();
    await this.#close();
  }

  async #send(method: string, params: object): Promise<unknown> {
    this.#count += 1;
    const id = this.#count;
    const replied = new Promise<Reply>((resolve, reject) => {
      this.#waiting.set(id, resolve);
      this.#socket.once("close", () => reject(new Error("Chromium has ended")));
    });
    this.#socket.setMaxListeners(0);
    this.#socket.send(JSON.stringify({ id, method, params }));
    const { result, error } = await replied;
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }
}

/** Chromium prints the port that it chose. */
async function debuggingPort(stderr: NodeJS.ReadableStream): Promise<string> {
  const signal = AbortSignal.timeout(30_000);
  let printed = "";
  while (!signal.aborted) {
    const [data] = (await once(stderr, "data", { signal })) as [Buffer];
    printed += data.toString();
    const [, port] = /ws:\/\/127\.0\.0\.1:(\d+)\//.exec(printed) ?? [];
    if (port !== undefined) {
      stderr.resume();
      return port;
    }
  }
  throw new Error(`Chromium does not say its port: ${printed}`);
}

/** Removes a directory in which processes that were told to end may still write. Rejects after 10 s. */
export async function removeDirectory(path: string): Promise<void> {
  const until = Date.now() + 10_000;
  for (;;) {
    try {
      // With `maxRetries` Node tries the directory again, but not the files that came into it.
      await rm(path, { recursive: true, force: true });
      return;
    } catch (error) {
      if (Date.now() > until) throw error;
      await delay(100);
    }
  }
}
