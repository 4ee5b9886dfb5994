/**
 * What some tests need that a machine may lack. Such a test is given its need
 * as options, `test(title, needs(isThere, what), …)`: where it is missing, the
 * test is skipped, and the end of the run says why.
 */
import { existsSync } from "node:fs";
import type { TestOptions } from "vitest";
import { python, pythonWithIpykernel } from "./kernels/python.ts";

declare module "vitest" {
  interface TaskMeta {
    /** Without which the test is skipped. */
    needs?: string;
  }
}

/** `what` says what is missing and how to get it. */
export function needs(isThere: boolean, what: string): TestOptions {
  return { skip: !isThere, meta: { needs: what } };
}

export const needsIpykernel = needs(
  pythonWithIpykernel !== undefined,
  "a Python with ipykernel (python3 -m pip install ipykernel)",
);

export const needsPosix = needs(
  process.platform !== "win32",
  "a system other than Windows",
);

export const needsLinux = needs(process.platform === "linux", "Linux");

export const needsLinuxAndPython = needs(
  process.platform === "linux" && python !== undefined,
  "Linux with Python 3",
);

export const needsChromium = needs(
  existsSync("/usr/bin/chromium"),
  "Chromium (/usr/bin/chromium)",
);

/** A program or file at a fixed path. */
export function needsFile(path: string): TestOptions {
  return needs(existsSync(path), path);
}
