/** Kernel Gateway's options: those that mean something here are understood, the others are refused by name. */
import { Command } from "commander";
import { afterEach, describe, expect, test, vi } from "vitest";
import { CommandError } from "../../src/command/exit.ts";
import {
  applyGatewayOptions,
  flagOf,
  flagsOf,
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
  ["ip", "*", "host", "0.0.0.0"],
  ["port", "8899", "port", 8899],
  ["port_retries", "3", "portRetries", 3],
  ["base_url", "/user/ann/", "baseUrl", "/user/ann"],
  ["allow_origin", "http://a.example", "allowOrigin", ["http://a.example"]],
  ["max_kernels", "2", "maxKernels", 2],
  ["sock", "/run/user/1/kernels", "socket", "/run/user/1/kernels"],
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
  const rows = gatewayOptions.filter(
    (each) => each.name === name && each.to !== undefined,
  );
  const variables = rows.flatMap((row) => variableOf(row) ?? []);

  test.each(rows.flatMap(flagsOf))("is understood as %s", (flag) => {
    expect(understood([`${flag}=${text}`])[option]).toEqual(value);
  });

  test.runIf(variables.length > 0)("is understood as a variable", () => {
    const [variable = ""] = variables;
    vi.stubEnv(variable, text);
    expect(understood([])[option]).toEqual(value);
  });
});

const refused = gatewayOptions
  .filter(({ instead }) => instead !== undefined)
  .map((row) => ({ row, flag: flagOf(row), variable: variableOf(row) }));

describe.each(refused)("$flag", ({ row, variable }) => {
  test.each(flagsOf(row))("is refused as %s, with what to use", (flag) => {
    const message = refusal([`${flag}=other`]);
    expect(message).toContain(`${flag} has no meaning here`);
    expect(message).toContain(row.instead);
  });

  const isRefused = variable !== undefined && row.isVariableOnly !== true;
  test.runIf(isRefused)("and so is its variable", () => {
    vi.stubEnv(variable ?? "", "other");
    expect(refusal([])).toContain(`${variable} has no meaning here`);
  });
});

test("the variable of the pings' interval has the name that Kernel Gateway gives it", () => {
  vi.stubEnv("KG_WS_PING_INTERVAL_SECS", "30");
  expect(refusal([])).toContain("leave it out");
});

test("an empty variable is none, as in Kernel Gateway", () => {
  for (const row of gatewayOptions) {
    const variable = variableOf(row);
    if (variable !== undefined) vi.stubEnv(variable, "");
  }
  expect(understood([])).toMatchObject({ host: "0.0.0.0", port: 0 });
});

test("a flag overrides a variable, under whichever class it is given", () => {
  vi.stubEnv("KG_IP", "127.0.0.2");
  expect(understood(["--ServerApp.ip=127.0.0.3"]).host).toBe("127.0.0.3");
  expect(understood(["--ip=127.0.0.4"]).host).toBe("127.0.0.4");
});

test("Jupyter's flags without a value are understood", () => {
  const { logLevel } = understood(["--no-browser", "--allow-root", "--debug"]);
  expect(logLevel).toBe("debug");
  expect(understood(["--debug", "--log-level=warn"]).logLevel).toBe("warn");
});

test("options that ask for the default behaviour are accepted", () => {
  const { port } = understood([
    "--JupyterWebsocketPersonality.list_kernels=True",
    "--KernelGatewayApp.api=kernel_gateway.jupyter_websocket",
    "--MappingKernelManager.cull_interval=30",
    "--ServerApp.allow_root=True",
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
  const message = refusal(["--KernelGatewayApp.auth_token=a-secret-of-mine"]);
  expect(message).toContain("KG_AUTH_TOKEN");
  expect(message).not.toContain("a-secret-of-mine");
  vi.stubEnv("KG_AUTH_TOKEN", "a-secret-of-mine");
  expect(understood([]).port).toBe(0);
});
