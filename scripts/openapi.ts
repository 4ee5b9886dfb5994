/**
 * Writes contract/openapi.json: the REST side of the contract, for generators
 * and for people. `--check` writes nothing and fails when the file is not what
 * the contract says today.
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
    "contract/openapi.json is not what the contract says: npm run openapi",
  );
  process.exitCode = 1;
}
