/** Kernel Gateway's options: those that mean something here are understood, the others are refused by name. */
import { Command } from "commander";
import { afterEach, describe, expect, test, vi } from "vitest";
import { CommandError } from "../../src/command/exit.ts";
import {
  applyGatewayOptions,
  flagOf,
  gatewayOptions,
  variableOf,
} from "../../src/command/gateway-options.ts";
import {
  addServeOptions,
  type ServeOptions,
} from "../../src/command/serve-options.ts";

afterEach(() => vi.unstubAllEnvs());

/** What `kallichore serve` understands of these arguments. */
function understood(args: readonly string[]): ServeOptions {
  const command = addServeOptions(new Command("serve")).exitOverride();
  command.parse(args, { from: "user" });
  applyGatewayOptions(command);
  return command.opts();
}

/** What it says to the person. */
function refusal(args: readonly string[]): string {
  try {
    understood(args);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return `${error.message}. ${error.hint ?? ""}`;
  }
  throw new Error("It was understood");
}

const meanings: readonly [
  name: string,
  text: string,
  option: keyof ServeOptions,
  value: unknown,
][] = [
  ["ip", "127.0.0.2", "host", "127.0.0.2"],
  ["ip", "", "host", "0.0.0.0"],
  ["port", "8899", "port", 8899],
  ["port_retries", "3", "portRetries", 3],
  ["base_url", "/user/ann/", "baseUrl", "/user/ann"],
  ["allow_origin", "http://a.example", "allowOrigin", ["http://a.example"]],
  ["max_kernels", "2", "maxKernels", 2],
  ["default_kernel_name", "ir", "defaultKernel", "ir"],
  ["cull_idle_timeout", "60", "cullIdleTimeout", 60],
  ["cull_connected", "True", "cullConnected", true],
  ["cull_busy", "False", "cullBusy", false],
];

test("each option that has a meaning is tried below", () => {
  const tried = new Set(meanings.map(([name]) => name));
  const meant = gatewayOptions.filter(({ to }) => to !== undefined);
  expect(new Set(meant.map(({ name }) => name))).toEqual(tried);
});

describe.each(meanings)("%s=%j", (name, text, option, value) => {
  const row = gatewayOptions.find((each) => each.name === name);
  if (row === undefined) throw new Error(name);
  const variable = variableOf(row);

  test("is understood as a flag", () => {
    expect(understood([`${flagOf(row)}=${text}`])[option]).toEqual(value);
  });

  test.runIf(variable !== undefined)("is understood as a variable", () => {
    vi.stubEnv(variable ?? "", text);
    expect(understood([])[option]).toEqual(value);
  });
});

const refused = gatewayOptions.filter(({ to }) => to === undefined);

describe.each(refused)("$name", (row) => {
  const flag = flagOf(row);

  test("is refused by its name, with what to use instead", () => {
    const said = refusal([`${flag}=other`]);
    expect(said).toContain(`${flag} has no meaning here`);
    expect(said).toContain(row.instead);
  });

  test.runIf(row.isVariableOnly !== true)("and so is its variable", () => {
    const variable = variableOf(row) ?? "";
    vi.stubEnv(variable, "other");
    expect(refusal([])).toContain(`${variable} has no meaning here`);
  });
});

test("what is so anyway may be said", () => {
  const { port } = understood([
    "--JupyterWebsocketPersonality.list_kernels=True",
    "--KernelGatewayApp.api=kernel_gateway.jupyter_websocket",
  ]);
  expect(port).toBe(0);
  expect(
    refusal(["--JupyterWebsocketPersonality.list_kernels=False"]),
  ).toContain("scope `observe`");
});

test("the server's own options override them", () => {
  vi.stubEnv("KG_PORT", "1");
  expect(understood(["--port", "2"]).port).toBe(2);
  vi.stubEnv("KALLICHORE_PORT", "3");
  expect(understood(["--KernelGatewayApp.port=4"]).port).toBe(3);
});

test("a value that is not valid is refused under the name that was used", () => {
  vi.stubEnv("KG_PORT", "many");
  expect(refusal([])).toContain("KG_PORT is not valid: Use a whole number");
  expect(refusal(["--KernelGatewayApp.port=70000"])).toContain(
    "--KernelGatewayApp.port is not valid",
  );
});

test("a token in an argument is refused, and one in the environment is not", () => {
  const said = refusal(["--KernelGatewayApp.auth_token=a-secret-of-mine"]);
  expect(said).toContain("KG_AUTH_TOKEN");
  expect(said).not.toContain("a-secret-of-mine");
  vi.stubEnv("KG_AUTH_TOKEN", "a-secret-of-mine");
  expect(understood([]).port).toBe(0);
});
