/**
 * Requirements of tests that a machine may lack. Such a test gets its
 * requirement as options, `test(title, needs(isThere, what), …)`: without it,
 * the test is skipped, and the end of the run lists the reason.
 */
import { existsSync } from "node:fs";
import type { TestOptions } from "vitest";
import { CHROMIUM } from "./chromium.ts";
import { python, pythonWithIpykernel } from "./kernels/python.ts";

declare module "vitest" {
  interface TaskMeta {
    /** The requirement of the test. */
    needs?: string;
  }
}

/** `what` names what is missing and how to get it. */
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
  existsSync(CHROMIUM),
  `Chromium (${CHROMIUM})`,
);

/** A program or file at a fixed path. */
export function needsFile(path: string): TestOptions {
  return needs(existsSync(path), path);
}
