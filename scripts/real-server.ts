/** A server on a port of this machine, with a Python kernel where there is one, for tools that need one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "../src/serve.ts";
import { installIpykernel } from "../test/kernels/python.ts";

export interface RealServer extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  /** The name of a kernelspec: ipykernel's, else that of the Python that we bring. */
  readonly kernel: string | undefined;
}

export async function realServer(): Promise<RealServer> {
  const folder = mkdtempSync(join(tmpdir(), "kallichore-specs-"));
  installIpykernel(folder);
  const server = await startServer({
    kernelspecDirs: [join(folder, "kernels")],
  });
  const { url = "", token = "" } = server;
  const answer = await fetch(`${url}/kernelspecs`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const { kernelspecs } = (await answer.json()) as {
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
