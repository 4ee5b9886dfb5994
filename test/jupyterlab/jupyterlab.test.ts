/** JupyterLab in a browser, with this server as its gateway: what a person does, and what they see. */
import { setTimeout } from "node:timers/promises";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  openServer,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { pythonWithJupyterLab } from "../kernels/python.ts";
import { needs } from "../needs.ts";
import { CHROMIUM } from "../chromium.ts";
import { type Cuttable, cuttable } from "../client/harness.ts";
import { type Lab, openLab } from "./lab.ts";

const isHere = pythonWithJupyterLab !== undefined && existsSync(CHROMIUM);
const here = {
  timeout: 180_000,
  ...needs(
    isHere,
    `JupyterLab with ipykernel and ipywidgets (python3 -m pip install jupyterlab ipykernel ipywidgets), and ${CHROMIUM}`,
  ),
};

/** The network is away for so long. */
const CUT_MS = 20_000;
const COUNT = 60;
/** Prints a number twice a second, for longer than the network is away. */
const counting = `import time
for i in range(${COUNT}):
    print(i, flush=True)
    time.sleep(0.5)`;
const counted = Array.from({ length: COUNT }, (_, i) => `${i}\n`).join("");

describe("JupyterLab", () => {
  let server: TestServer;
  /** The network between JupyterLab and the server. */
  let gateway: Cuttable;
  let lab: Lab;
  beforeAll(async () => {
    if (!isHere) return;
    server = await openServer({ basePath: "/user/a@b" });
    gateway = await cuttable(server.url);
    lab = await openLab(`${gateway.url}${server.server.basePath}`, TOKEN);
  }, 300_000);
  afterAll(async () => {
    if (!isHere) return;
    await lab[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  }, 60_000);

  test("runs cells, one after the other", here, async () => {
    const notebook = await lab.open("cells.ipynb", [
      "x = 6; print(x)",
      "x * 7",
    ]);
    expect(await notebook.runToEnd(0)).toBe("6\n");
    expect(await notebook.runToEnd(1)).toBe("42");
  });

  test("restarts the kernel, and runs a cell at once", here, async () => {
    const notebook = await lab.open("restart.ipynb", ["x = 5", "x"]);
    await notebook.runToEnd(0);
    for (let round = 0; round < 5; round += 1) {
      await notebook.restart();
      expect(await notebook.runToEnd(1)).toBe("name 'x' is not defined");
    }
  });

  test("shows a picture", here, async () => {
    const notebook = await lab.open("picture.ipynb", [
      `from base64 import b64decode
from IPython.display import Image
Image(b64decode("iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGNoUHCAIAY4CwA2FAVBblLbWwAAAABJRU5ErkJggg=="))`,
    ]);
    await notebook.runToEnd(0);
    const picture = '.jp-OutputArea img[src^="data:image/png"]';
    await notebook.untilThere(picture);
    const size = `(() => { const i = document.querySelector(${JSON.stringify(picture)}); return [i.naturalWidth, i.naturalHeight]; })()`;
    expect(await lab.page.evaluate(size)).toEqual([3, 2]);
  });

  test("asks for input, and hands it over", here, async () => {
    const notebook = await lab.open("input.ipynb", [
      "'Hello ' + input('Name?')",
    ]);
    await notebook.run(0);
    await notebook.untilThere(".jp-Stdin-input");
    await lab.page.evaluate(
      `document.querySelector(".jp-Stdin-input").focus()`,
    );
    await lab.page.type("Ann");
    await lab.page.pressEnter();
    await notebook.untilDone(0);
    expect(await notebook.text(0)).toContain("'Hello Ann'");
  });

  test("shows a widget, and carries its value both ways", here, async () => {
    const notebook = await lab.open("widget.ipynb", [
      "from ipywidgets import IntSlider\nslider = IntSlider(3)\nslider",
      "slider.value = 7",
      "slider.value",
    ]);
    const readout = `document.querySelector(".widget-readout")`;
    await notebook.runToEnd(0);
    await notebook.until("the widget", `${readout}?.textContent === "3"`);
    await notebook.runToEnd(1);
    await notebook.until(
      "the kernel's value",
      `${readout}.textContent === "7"`,
    );
    await lab.page.click(readout);
    await lab.page.evaluate(`${readout}.textContent = "9"`);
    await lab.page.pressEnter();
    await notebook.until("the value", `${readout}.textContent === "9"`);
    expect(await notebook.runToEnd(2)).toBe("9");
  });

  test("stops at a breakpoint, and continues", here, async () => {
    const notebook = await lab.open("debugger.ipynb", ["x = 1\ny = 2\nx + y"]);
    await notebook.debug();
    await lab.page.click(
      `panel.node.querySelectorAll(".cm-breakpoint-gutter .cm-gutterElement")[2]`,
    );
    await notebook.untilThere(".cm-breakpoint-icon");
    await notebook.untilThere(".jp-DebuggerBreakpoint"); // listed when the kernel has it
    await notebook.run(0);
    await notebook.until(
      "the line at which it stopped",
      `document.querySelector(".jp-DebuggerCallstackBody li, .jp-DebuggerCallstack-body li") !== null`,
    );
    expect(await notebook.text(0)).toBe("");
    await lab.page.evaluate(`jupyterapp.commands.execute("debugger:continue")`);
    await notebook.untilDone(0);
    expect(await notebook.text(0)).toBe("3");
  });

  test(
    "after a reload the kernel is shown busy, and the next cell runs",
    here,
    async () => {
      const end = join(temporaryFolder(), "end");
      const waiting = `import os, time
print('begun', flush=True)
while not os.path.exists(${JSON.stringify(end)}):
    time.sleep(0.1)
x = 42`;
      const notebook = await lab.open("reload.ipynb", [waiting, "x"]);
      await notebook.run(0);
      await notebook.untilText(0, "begun");
      await lab.reload();
      const again = await lab.reopen("reload.ipynb");
      await again.untilStatus("busy");
      await again.run(1);
      writeFileSync(end, "");
      await again.untilDone(1);
      expect(await again.text(1)).toBe("42");
    },
  );

  test.each([
    ["the browser and JupyterLab", () => lab.network],
    ["JupyterLab and the server", () => gateway],
  ])(
    "the output is there when the network between %s was away for 20 s",
    here,
    async (between, network) => {
      const name = `${between.replaceAll(" ", "-")}.ipynb`;
      const notebook = await lab.open(name, [counting]);
      await notebook.run(0);
      await notebook.untilText(0, "3\n");
      network().down();
      await setTimeout(CUT_MS);
      network().up();
      if (network() === lab.network) await notebook.reconnect(); // as a person does, rather than wait for its next attempt
      await notebook.untilDone(0);
      // Of a connection that broke, messages of the last moments may come twice.
      const lines: readonly string[] =
        (await notebook.text(0)).match(/\d+\n/g) ?? [];
      if (network() === gateway) {
        expect([...new Set(lines)].join("")).toBe(counted);
        return;
      }
      // JupyterLab's server may lose what it passes on at the moment at which the browser connects again.
      const printed = counted.match(/\d+\n/g) ?? [];
      const missing = printed.filter((line) => !lines.includes(line));
      expect(missing.length, missing.join(" ")).toBeLessThanOrEqual(2);
    },
  );
});
