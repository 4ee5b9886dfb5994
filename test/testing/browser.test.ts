import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, test } from "vitest";
import { webBuild } from "../../testing/web/build.ts";
import { temporaryFolder } from "../harness.ts";
import { Page } from "../chromium.ts";
import { needsChromium } from "../needs.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("the browser entries import nothing from Node", async () => {
  const { metafile } = await build({
    ...webBuild,
    entryPoints: [
      join(root, "testing/browser.ts"),
      join(root, "testing/msw.ts"),
    ],
    bundle: true,
    format: "esm",
    external: ["msw"],
    outdir: root, // nothing is written there
    write: false,
    metafile: true,
    logLevel: "error",
  });
  const imports = Object.values(metafile.outputs).flatMap((output) =>
    output.imports.map(({ path }) => path),
  );
  expect(new Set(imports)).toEqual(new Set(["msw"]));
});

/** Runs in a context without Node, and returns what it received. */
const story = `
import { display, input, mockKernel, stream, testServer } from "./browser.js";
async function report() {
  await using server = await testServer({
    kernels: {
      python3: mockKernel({
        on: {
          hi: [stream("hé\\n"), display("x", { buffers: [new Uint8Array([0, 255])] })],
          ask: input("Name? ", (name) => stream("Hello " + name)),
        },
      }),
    },
  });
  const session = await server.start();
  const { outputs } = await session.execute("hi");
  const ask = await session.run("ask");
  await session.transcript.untilPrompt();
  await session.answer("Ada");
  const greeted = await session.transcript.outputs(ask);
  const { buffers } = await session.transcript.until("buffers", (e) => e.buffers?.length > 0);
  const rest = await (await server.fetch("/sessions")).json();
  const socket = new server.WebSocket("ws://localhost/sessions/" + session.session_id + "/channels?events=all");
  const first = await new Promise((resolve) => { socket.onmessage = ({ data }) => resolve(JSON.parse(data)); });
  return JSON.stringify({ outputs, greeted, buffers, total: rest.total, first });
}
globalThis.report = report;
`;

/** A folder with `page.js`, which loads no other file. */
async function bundled(): Promise<string> {
  const folder = temporaryFolder();
  await build({
    ...webBuild,
    entryPoints: [join(root, "testing/browser.ts")],
    bundle: true,
    format: "esm",
    outdir: folder,
    logLevel: "error",
  });
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  writeFileSync(join(folder, "story.js"), story);
  await build({
    entryPoints: [join(folder, "story.js")],
    bundle: true,
    format: "iife",
    target: "es2022",
    outfile: join(folder, "page.js"),
    logLevel: "error",
  });
  return folder;
}

const expected = {
  outputs: [
    { output_type: "stream", text: "hé\n" },
    { output_type: "display_data", data: { "text/plain": "x" } },
  ],
  greeted: [{ text: "Hello Ada" }],
  buffers: ["AP8="],
  total: 1,
  first: { kind: "kernel", status: { status: "starting" }, seq: 1 },
};

test("the whole server runs in a real browser", needsChromium, async () => {
  const file = join(await bundled(), "index.html");
  writeFileSync(
    file,
    `<!doctype html><meta charset="utf-8"><body><script src="page.js"></script>`,
  );
  await using page = await Page.open();
  await page.goto(`file://${file}`);
  const reported = await page.evaluate<string>("report()");
  expect(JSON.parse(reported)).toMatchObject(expected);
});
