/** The built page in a real browser, with MSW's worker and no server. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { build, preview, type PreviewServer } from "vite";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  test,
} from "vitest";

const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const without = existsSync(executablePath)
  ? ""
  : ` (skipped: ${executablePath} does not exist)`;

describe.skipIf(without !== "")(`in Chromium${without}`, () => {
  let site: PreviewServer;
  let browser: Browser;
  let page: Page;
  let errors: string[];

  beforeAll(async () => {
    const root = fileURLToPath(new URL("..", import.meta.url));
    await build({ root, logLevel: "error" });
    site = await preview({ root, preview: { host: "127.0.0.1", port: 0 } });
    browser = await chromium.launch({
      executablePath,
      args: [
        "--no-sandbox", // containers allow no sandbox
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  beforeEach(async () => {
    const context = await browser.newContext();
    page = await context.newPage();
    errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(site.resolvedUrls?.local[0] ?? "");
    await page.getByLabel("code").waitFor();
  });
  afterEach(async () => {
    await page.context().close();
    expect(errors).toEqual([]);
  });

  const run = async (code: string) => {
    await page.getByLabel("code").fill(code);
    await page.getByText("Run", { exact: true }).click();
  };
  const output = () => page.getByRole("log").textContent();
  const ended = () => page.locator("pre[aria-busy=false]").waitFor();

  test("code runs, requests input, gets the answer, and ends", async () => {
    await run("talk()");
    await page.getByLabel("And?").waitFor();
    expect(await output()).toBe("one\n");
    const picture = process.env["SCREENSHOT"];
    if (picture !== undefined) await page.screenshot({ path: picture });
    await page.getByLabel("And?").fill("two");
    await page.keyboard.press("Enter");
    await ended();
    expect(await output()).toBe("one\ntwo\nthree\n");
  });

  test("an error is shown, and the next code runs", async () => {
    await run("1 / 0");
    await page.getByText("ZeroDivisionError: division by zero").waitFor();
    await ended();
    await run("count()");
    await expect.poll(output).toBe("1\n2\n3\n");
  });

  test("no output is lost when connections break repeatedly", async () => {
    await page.evaluate(() => window.mocked.fault({ dropAfter: 9 }));
    await run("count(20)");
    await ended();
    const numbers = Array.from({ length: 20 }, (_, i) => `${i + 1}\n`);
    expect(await output()).toBe(numbers.join(""));
  });

  test("a session's channels are a WebSocket in the page too", async () => {
    // React's strict mode mounts the page twice: the first session ends while the second one starts.
    const sessions = () =>
      page.evaluate(() => window.mocked.server.supervisor.sessions.length);
    await expect.poll(sessions).toBe(1);
    const texts = await page.evaluate(async () => {
      const [session] = window.mocked.server.supervisor.sessions;
      const socket = new WebSocket(
        `ws://localhost:8888/sessions/${session?.id}/channels?token=secret`,
      );
      await new Promise((resolve) => (socket.onopen = resolve));
      const texts: string[] = [];
      const idle = new Promise<void>((resolve) => {
        socket.onmessage = ({ data }) => {
          const message = JSON.parse(String(data));
          // The first owner also gets the messages of the kernel's start.
          if (message.parent_header?.msg_id !== "m") return;
          const { header, content } = message;
          if (header.msg_type === "stream") texts.push(content.text);
          if (content.execution_state === "idle") resolve();
        };
      });
      socket.send(
        JSON.stringify({
          channel: "shell",
          header: { msg_id: "m", msg_type: "execute_request" },
          content: { code: "count()" },
        }),
      );
      await idle;
      socket.close();
      return texts;
    });
    expect(texts.join("")).toBe("1\n2\n3\n");
  });

  test("REST goes through MSW's worker", async () => {
    const answer = await page.evaluate(async () => {
      const [refused, listed] = await Promise.all([
        fetch("http://localhost:8888/sessions"),
        fetch("http://localhost:8888/sessions?token=secret"),
      ]);
      return { refused: refused.status, listed: await listed.json() };
    });
    expect(answer).toMatchObject({ refused: 401, listed: { total: 1 } });
  });
});

declare global {
  interface Window {
    readonly mocked: (typeof import("../src/mocked.ts"))["mocked"];
  }
}
