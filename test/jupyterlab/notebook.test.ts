/** Notebook in a browser, with this server as its gateway. */
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { CHROMIUM } from "../chromium.ts";
import { openServer, TOKEN } from "../harness.ts";
import { pythonWithNotebook } from "../kernels/python.ts";
import { needs } from "../needs.ts";
import { openNotebook } from "./lab.ts";

test(
  "Notebook runs cells, restarts the kernel, and runs a cell again",
  {
    timeout: 240_000,
    ...needs(
      pythonWithNotebook !== undefined && existsSync(CHROMIUM),
      `Notebook 7 with ipykernel (python3 -m pip install notebook ipykernel), and ${CHROMIUM}`,
    ),
  },
  async () => {
    await using server = await openServer({ basePath: "/user/a@b" });
    await using page = await openNotebook(server.url, TOKEN, [
      "x = 6; print(x)",
      "x * 7",
    ]);
    const { notebook } = page;
    expect(await notebook.runToEnd(0)).toBe("6\n");
    expect(await notebook.runToEnd(1)).toBe("42");
    const { body } = await server.ask("GET", "/user/a@b/api/kernels");
    expect(body).toMatchObject([{ name: "python3", execution_state: "idle" }]);
    await notebook.restart();
    expect(await notebook.runToEnd(1)).toBe("name 'x' is not defined");
  },
);
