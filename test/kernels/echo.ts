/** Runs commands: see `echo-script.ts`. */
import { runMockKernel } from "../../testing/process.ts";
import { echo } from "./echo-script.ts";

await runMockKernel(echo, process.argv[2]);
