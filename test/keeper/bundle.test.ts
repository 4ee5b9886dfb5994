/** Invariant 7: a keeper is boring. What its program is made of. */
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, test } from "vitest";
import { lean } from "../../scripts/lean.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("invariant 7: no HTTP, tRPC, WebSockets, contract validation or other rooms are in its program", async () => {
  const { metafile, outputFiles } = await build({
    entryPoints: [`${root}src/bin/keeper.ts`],
    absWorkingDir: root,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    external: ["koffi", "zeromq"],
    plugins: [...lean],
    metafile: true,
    write: false,
    outdir: root,
    splitting: true,
  });
  const inputs = Object.values(metafile.outputs).flatMap((output) =>
    Object.entries(output.inputs)
      .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
      .map(([path]) => path),
  );
  const rooms = inputs.map((path) => /^(src\/\w+|\w+)\//.exec(path)?.[1]);
  expect([...new Set(rooms)].sort()).toEqual(
    [
      "contract",
      "node_modules",
      "src/bin",
      "src/host",
      "src/jupyter",
      "src/keeper",
      "src/kernel",
      "src/log",
      "src/package",
      "src/time",
      "src/zmq",
      undefined, // Node's own modules
    ].sort(),
  );
  const packages = inputs.flatMap(
    (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [],
  );
  // How a script is started on Windows; loaded when one is.
  const spawning = [
    "cross-spawn",
    "isexe",
    "path-key",
    "shebang-command",
    "shebang-regex",
    "which",
  ];
  // How memory is read on macOS; loaded there for a kernel with a limit.
  const measuring = ["pidusage", "safe-buffer"];
  expect([...spawning, ...measuring]).toEqual(expect.arrayContaining(packages));
  const text = outputFiles.map((file) => file.text).join("\n");
  expect(text).not.toMatch(/node:(http|https|http2|tls)\b/);
  expect(text).not.toMatch(/ZodType|@trpc|WebSocketServer/);
});
