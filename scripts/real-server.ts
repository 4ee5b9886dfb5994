/** A server on a loopback port, with a Python kernel if one is installed, for tools that need a running server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "../src/serve.ts";
import { installIpykernel } from "../test/kernels/python.ts";

export interface RealServer extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  /** The name of a kernelspec: of ipykernel if it is installed, else of the bundled Python; `undefined` if there is neither. */
  readonly kernel: string | undefined;
}

export async function realServer(): Promise<RealServer> {
  const folder = mkdtempSync(join(tmpdir(), "kallichore-specs-"));
  installIpykernel(folder);
  const server = await startServer({
    kernelspecDirs: [join(folder, "kernels")],
  });
  const { url = "", token = "" } = server;
  const response = await fetch(`${url}/kernelspecs`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const { kernelspecs } = (await response.json()) as {
    readonly kernelspecs: readonly { readonly name: string }[];
  };
  const names = kernelspecs.map(({ name }) => name);
  return {
    url,
    token,
    kernel: ["python3", "python-wasm"].find((name) => names.includes(name)),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
