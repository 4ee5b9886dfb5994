import { expect, test } from "vitest";
import {
  launchedBy,
  shellLauncher,
  windowsLauncher,
} from "../../../src/command/kcserver/launcher.ts";

test("paths with quotes and blanks stay one word each", () => {
  const text = shellLauncher({ node: "/a b/node", program: "/it's/k.js" });
  expect(text).toContain(`exec '/a b/node' '/it'\\''s/k.js' "$@"`);
});

test("on Windows, a percent sign stays a percent sign", () => {
  const target = { node: "C:\\a b\\node.exe", program: "C:\\100%\\k.js" };
  expect(windowsLauncher(target)).toContain(
    '"C:\\a b\\node.exe" "C:\\100%%\\k.js" %*\r\n',
  );
});

test("on Windows, letters beyond ASCII are read correctly", () => {
  const text = windowsLauncher({ node: "C:\\é\\node.exe", program: "k.js" });
  expect(text.split("\r\n").indexOf("chcp 65001 >nul")).toBe(2);
  const plain = windowsLauncher({ node: "C:\\e\\node.exe", program: "k.js" });
  expect(plain).not.toContain("chcp");
});

test("kernels do not inherit the launcher's variables", () => {
  const env: NodeJS.ProcessEnv = {
    KALLICHORE_SERVER_PATH: "/opt/kcserver",
    KALLICHORE_IGNORES_HANGUP: "1",
    OTHER: "x",
  };
  expect(launchedBy(env)).toEqual({
    server_path: "/opt/kcserver",
    ignoresHangup: true,
  });
  expect(env).toEqual({ OTHER: "x" });
});
