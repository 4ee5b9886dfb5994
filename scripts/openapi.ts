/**
 * Generates contract/openapi.json from the contract's REST operations.
 *
 *     tsx scripts/openapi.ts            writes the file
 *     tsx scripts/openapi.ts --check    fails if the file differs from the contract
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { format } from "prettier";
import { openApiDocument } from "./openapi/document.ts";

const file = fileURLToPath(
  new URL("../contract/openapi.json", import.meta.url),
);

const text = await format(JSON.stringify(openApiDocument()), {
  parser: "json",
});
if (!process.argv.includes("--check")) await writeFile(file, text);
else if ((await readFile(file, "utf8").catch(() => "")) !== text) {
  console.error(
    "contract/openapi.json differs from the contract: npm run openapi",
  );
  process.exitCode = 1;
}
