/** The program that a mocked kernel's kernelspec starts. Its arguments: connection file, module, name of the export. */
import { isMockKernel } from "./mock-kernel.ts";
import { runMockKernel } from "./process.ts";

const [connection_file, module = "", exported = "default"] =
  process.argv.slice(2);
const found = (await import(module)) as Readonly<Record<string, unknown>>;
const kernel = found[exported];
if (!isMockKernel(kernel)) {
  throw new TypeError(
    `The export ${exported} of ${module} is not a mock kernel`,
  );
}
await runMockKernel(kernel, connection_file);
