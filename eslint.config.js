import { fileURLToPath } from "node:url";
import { defineConfig, includeIgnoreFile } from "eslint/config";
import tseslint from "typescript-eslint";

/** Type-aware rules for what people get wrong in asynchronous code, and a few of taste. Which room may use which: `rooms.js`. */
export default defineConfig(
  includeIgnoreFile(fileURLToPath(new URL(".gitignore", import.meta.url))),
  {
    ignores: [
      // These are compiled as those do it who install the package.
      "examples/",
      "test/package/",
      "scripts/generators/programs/",
      // AssemblyScript: its types are others.
      "assembly/",
    ],
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/no-confusing-void-expression": [
        "error",
        { ignoreArrowShorthand: true },
      ],
      "@typescript-eslint/no-empty-function": "off",
      // What is disposed at the end of its scope has done its work by being there.
      "@typescript-eslint/no-unused-vars": [
        "error",
        { ignoreUsingDeclarations: true },
      ],
      "max-params": ["error", 4],
      "no-restricted-syntax": [
        "error",
        {
          selector: "ExportAllDeclaration",
          message: "Export names, not whole files.",
        },
      ],
    },
  },
);
