/**
 * The generated clients, each with the steps to generate, compile and run it. The
 * programs that use the clients are in programs/: each prints the kernel's result
 * of `1+1`.
 */
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  cargoFolder,
  nodeModules,
  nodeTool,
  openapiGenerator,
  pythonTool,
  run,
} from "./tools.ts";

/** The input of a step. */
export interface StepInput {
  /** The OpenAPI document. */
  readonly document: string;
  /** The folder of this client. */
  readonly home: string;
  /** The address of the server, for the program. */
  readonly env: Readonly<Record<string, string>>;
}
type Step = (input: StepInput) => Promise<string>;

export interface Client {
  readonly name: string;
  readonly generate: Step;
  readonly compile?: Step;
  readonly run?: Step;
}

export const clients: readonly Client[] = [
  {
    name: "openapi-generator-python",
    generate: (input) => openapiGenerator("python", input),
    compile: async ({ home }) => {
      await pip("-r", join(home, "requirements.txt"));
      return pythonTool("python", ["-c", "import openapi_client"], {
        cwd: home,
      });
    },
    run: pythonProgram("openapi-generator-python"),
  },
  {
    name: "openapi-python-client",
    generate: ({ document, home }) => {
      const config = join(home, "config.yaml");
      writeFileSync(config, "package_name_override: kallichore_client\n");
      return pythonTool("openapi-python-client", [
        ...["generate", "--path", document, "--config", config],
        ...["--meta", "none", "--fail-on-warning"],
        ...["--output-path", join(home, "kallichore_client")],
      ]);
    },
    compile: async ({ home }) => {
      await pip("httpx", "attrs", "python-dateutil");
      return pythonTool("python", ["-m", "compileall", "-q", home]);
    },
    run: pythonProgram("openapi-python-client"),
  },
  {
    name: "datamodel-code-generator",
    generate: ({ document, home }) =>
      pythonTool("datamodel-codegen", [
        ...["--input", document, "--input-file-type", "openapi"],
        ...["--output", join(home, "models.py")],
        ...["--output-model-type", "pydantic_v2.BaseModel"],
      ]),
    compile: async ({ home }) => {
      await pip("pydantic>=2.11,<3");
      return pythonTool("python", ["-c", "import models"], { cwd: home });
    },
    run: pythonProgram("datamodel-code-generator"),
  },
  {
    name: "openapi-generator-typescript-axios",
    generate: (input) =>
      openapiGenerator("typescript-axios", input, { npmName: "client" }),
    compile: async (input) => {
      await withProgram(input, "openapi-generator-typescript-axios.ts");
      return nodeTool("tsc", ["-p", input.home, "--types", "node"]);
    },
    run: compiledProgram,
  },
  {
    name: "openapi-generator-typescript-fetch",
    generate: (input) =>
      openapiGenerator("typescript-fetch", input, {
        npmName: "client",
        // By default it writes a check for each model, which TypeScript cannot type
        // if many properties have `_` in their names.
        modelPropertyNaming: "original",
      }),
    compile: async (input) => {
      await withProgram(
        input,
        "openapi-generator-typescript-fetch.ts",
        "src", // the source folder of the generated settings
      );
      return nodeTool("tsc", ["-p", input.home, "--types", "node"]);
    },
    run: compiledProgram,
  },
  {
    name: "hey-api",
    generate: ({ document, home }) =>
      nodeTool("openapi-ts", [
        ...["-i", document, "-o", join(home, "generated")],
        ...["-c", "@hey-api/client-fetch"],
      ]),
    compile: typeChecked("hey-api.ts"),
    run: sourceProgram,
  },
  {
    name: "orval",
    generate: ({ document, home }) => {
      const orval = {
        kallichore: {
          input: document,
          output: { target: join(home, "generated.ts"), client: "fetch" },
        },
      };
      const config = join(home, "orval.config.mjs");
      writeFileSync(config, `export default ${JSON.stringify(orval)};\n`);
      return nodeTool("orval", ["--config", config], { cwd: home });
    },
    compile: typeChecked("orval.ts"),
    run: sourceProgram,
  },
  {
    name: "openapi-typescript",
    generate: ({ document, home }) =>
      nodeTool("openapi-typescript", [
        ...[document, "-o", join(home, "generated.ts")],
      ]),
    compile: typeChecked("openapi-typescript.ts"),
    run: sourceProgram,
  },
  {
    name: "openapi-generator-go",
    generate: (input) =>
      openapiGenerator("go", input, {
        packageName: "kallichore",
        // By default it tries each member of a union, and some members accept the values of others.
        useOneOfDiscriminatorLookup: "true",
      }),
    compile: ({ home }) => {
      mkdirSync(join(home, "cmd"));
      copyProgram("openapi-generator-go.go", join(home, "cmd", "main.go"));
      return run("go", ["vet", ".", "./cmd"], { cwd: home });
    },
    run: ({ home, env }) => run("go", ["run", "./cmd"], { cwd: home, env }),
  },
  {
    name: "openapi-generator-java",
    generate: (input) =>
      openapiGenerator("java", input, { hideGenerationTimestamp: "true" }),
    compile: ({ home }) => {
      const program = join(home, "src", "main", "java", "Main.java");
      copyProgram("openapi-generator-java.java", program);
      return run("mvn", ["-q", "-B", "compile"], { cwd: home });
    },
    run: async ({ home, env }) => {
      const list = join(home, "classpath");
      await run(
        "mvn",
        [
          ...["-q", "-B", "dependency:build-classpath"],
          `-Dmdep.outputFile=${list}`,
        ],
        { cwd: home },
      );
      const classes = join(home, "target", "classes");
      // An argument file, because the list is long.
      const file = join(home, "arguments");
      const separator = process.platform === "win32" ? ";" : ":";
      const path = [classes, readFileSync(list, "utf8").trim()].join(separator);
      writeFileSync(file, `-cp "${path.replaceAll("\\", "\\\\")}"`);
      return run("java", [`@${file}`, "Main"], { env });
    },
  },
  {
    name: "openapi-generator-rust",
    generate: (input) => openapiGenerator("rust", input),
    compile: ({ home }) =>
      run("cargo", ["build", "-q"], {
        cwd: home,
        env: { CARGO_TARGET_DIR: cargoFolder },
      }),
  },
];

function copyProgram(name: string, to: string): void {
  const from = new URL(`./programs/${name}`, import.meta.url);
  copyFileSync(fileURLToPath(from), to);
}

/** Copies a program to the generated client, and links `node_modules` there. */
async function withProgram(
  { home }: StepInput,
  name: string,
  folder = ".",
): Promise<void> {
  copyProgram(name, join(home, folder, "program.ts"));
  const type = process.platform === "win32" ? "junction" : "dir";
  symlinkSync(await nodeModules(), join(home, "node_modules"), type);
}

function pip(...packages: readonly string[]): Promise<string> {
  return pythonTool("python", ["-m", "pip", "install", "-q", ...packages]);
}

function pythonProgram(name: string): Step {
  return ({ home, env }) => {
    copyProgram(`${name}.py`, join(home, "program.py"));
    return pythonTool("python", ["program.py"], { cwd: home, env });
  };
}

/** Checks the types of a program in strict mode. */
function typeChecked(name: string): Step {
  return async (input) => {
    await withProgram(input, name);
    const { home } = input;
    writeFileSync(join(home, "package.json"), '{"type":"module"}');
    const settings = {
      compilerOptions: {
        strict: true,
        noEmit: true,
        allowImportingTsExtensions: true,
        target: "ES2022",
        lib: ["ES2022", "DOM", "DOM.Iterable"],
        module: "ESNext",
        moduleResolution: "Bundler",
        skipLibCheck: true,
        types: ["node"],
      },
      include: ["program.ts"],
    };
    writeFileSync(join(home, "tsconfig.json"), JSON.stringify(settings));
    return nodeTool("tsc", ["-p", home]);
  };
}

function sourceProgram({ home, env }: StepInput): Promise<string> {
  return nodeTool("tsx", ["program.ts"], { cwd: home, env });
}

/** Runs the program that the generated settings of TypeScript have compiled to `dist`. */
function compiledProgram({ home, env }: StepInput): Promise<string> {
  return run(process.execPath, [join("dist", "program.js")], {
    cwd: home,
    env,
  });
}
