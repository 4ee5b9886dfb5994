/** The start of a kernel: its arguments, environment, directory, and the shell around it. */
import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { at, equal, holds, shown, text } from "../harness/check.ts";
import type { Channel } from "../harness/channel.ts";
import { FAULT, KALLICHORE, group as outline } from "../harness/item.ts";
import type { Item } from "../harness/item.ts";
import { gone } from "../harness/processes.ts";
import type { Server } from "../harness/server.ts";
import { Session, kernelArgv, newSession } from "../harness/session.ts";

interface World {
  readonly server: Server;
}

export const group = outline<World>({
  id: "ENV",
  open: async (ground) => {
    const server = await ground.start({
      env: { OF_THE_SERVER: "base", KIT_PATH: "/usr" },
    });
    const home = join(server.home, "home");
    writeFileSync(
      join(home, ".bash_profile"),
      "export OF_THE_PROFILE=profile\n",
    );
    writeFileSync(join(home, ".bashrc"), "export OF_THE_RC=rc\n");
    return { server };
  },
  items: [
    {
      id: "ENV-01",
      claim: "the kernel has the server's environment",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const channel = await running(server, {});
        equal(
          await channel.result("env OF_THE_SERVER"),
          "base",
          "OF_THE_SERVER",
        );
      },
    },
    {
      id: "ENV-02",
      claim:
        "replace, append and prepend apply in list order, without a separator, each to the result of the earlier ones",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const env = [
          { action: "replace", name: "A", value: "middle" },
          { action: "append", name: "A", value: ":end" },
          { action: "prepend", name: "A", value: "start:" },
          { action: "append", name: "KIT_PATH", value: ":/opt" },
          { action: "append", name: "UNSET_BEFORE", value: "x" },
          { action: "prepend", name: "UNSET_BEFORE", value: "y" },
          { action: "replace", name: "B", value: "first" },
          { action: "replace", name: "B", value: "later wins" },
          { action: "replace", name: "OF_THE_SERVER", value: "" },
        ];
        const channel = await running(server, { env });
        equal(await channel.result("env A"), "start:middle:end", "A");
        equal(await channel.result("env KIT_PATH"), "/usr:/opt", "KIT_PATH");
        equal(await channel.result("env UNSET_BEFORE"), "yx", "UNSET_BEFORE");
        equal(await channel.result("env B"), "later wins", "B");
        equal(await channel.result("env OF_THE_SERVER"), "", "OF_THE_SERVER");
      },
    },
    {
      id: "ENV-03",
      claim: "initial_env is the complete resolved environment",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const env = [{ action: "append", name: "OF_THE_SERVER", value: "+" }];
        const session = await Session.started(server, { body: { env } });
        const shownEnv = at(await session.details(), "initial_env");
        equal(at(shownEnv, "OF_THE_SERVER"), "base+", "OF_THE_SERVER");
        holds(text(at(shownEnv, "PATH")) !== "", "no PATH");
      },
    },
    {
      id: "ENV-04",
      claim: "an unknown action is 400",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const env = [{ action: "remove", name: "A", value: "" }];
        const body = newSession({ body: { env } });
        equal(
          (await server.request("PUT", "/sessions", { body })).status,
          400,
          "code",
        );
      },
    },
    {
      id: "ENV-05",
      claim:
        "{connection_file} is replaced anywhere in an argument, and other braces stay",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const argv = [
          ...kernelArgv("obedient"),
          "--f={connection_file}",
          "{prefix}",
          "{x}",
        ];
        const channel = await running(server, { argv });
        const [first, ...rest] = (await channel.result("argv")) as string[];
        holds(
          /^--f=\/.+/.test(text(first)) && !text(first).includes("{"),
          shown(first),
        );
        equal(rest, ["{prefix}", "{x}"], "the other arguments");
      },
    },
    {
      id: "ENV-06",
      claim:
        "working_directory is the kernel's directory; empty means the server's",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const there = await running(server, { working_directory: "/usr" });
        equal(await there.result("cwd"), "/usr", "cwd");
        const here = await running(server, { working_directory: "" });
        equal(
          await here.result("cwd"),
          realpathSync(server.home),
          "cwd when empty",
        );
      },
    },
    {
      id: "ENV-07",
      claim:
        "a working_directory that does not exist is not an error: the server's is used",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const channel = await running(server, {
          working_directory: "/no/such/place",
        });
        equal(await channel.result("cwd"), realpathSync(server.home), "cwd");
      },
    },
    {
      id: "ENV-08",
      claim: "~ in working_directory is the home directory at start too",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        mkdirSync(join(server.home, "home", "project"), { recursive: true });
        const channel = await running(server, {
          working_directory: "~/project",
        });
        const wanted = realpathSync(join(server.home, "home", "project"));
        equal(await channel.result("cwd"), wanted, "cwd");
      },
    },
    wrapped("ENV-10", "none", "", { OF_THE_PROFILE: null, OF_THE_RC: null }),
    wrapped("ENV-11", "shell", undefined, { OF_THE_PROFILE: "profile" }),
    wrapped("ENV-12", "command", "export OF_THE_COMMAND='a b'", {
      OF_THE_COMMAND: "a b",
    }),
    {
      id: "ENV-13",
      claim:
        "startup_environment script sources the file, a relative path from the working directory",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const directory = join(server.home, "home", "with a space");
        mkdirSync(directory, { recursive: true });
        writeFileSync(
          join(directory, "set up.sh"),
          "export OF_THE_SCRIPT=yes\n",
        );
        for (const arg of [join(directory, "set up.sh"), "set up.sh"]) {
          const channel = await running(server, {
            working_directory: directory,
            startup_environment: "script",
            startup_environment_arg: arg,
          });
          equal(
            await channel.result("env OF_THE_SCRIPT"),
            "yes",
            `with ${arg}`,
          );
        }
      },
    },
    {
      id: "ENV-14",
      claim: "a SHELL among the session's variables does not choose the shell",
      source: KALLICHORE,
      mark: "same",
      run: async ({ server }) => {
        const env = [
          { action: "replace", name: "SHELL", value: "/no/such/shell" },
        ];
        const channel = await running(server, {
          env,
          startup_environment: "shell",
        });
        equal(await channel.result("env SHELL"), "/no/such/shell", "SHELL");
      },
    },
    {
      id: "ENV-15",
      claim:
        "arguments pass through the shell unchanged: spaces, double quotes, dollars, backslashes, newlines",
      source: KALLICHORE,
      mark: "same",
      run: (world) =>
        passes(world, [
          "a b",
          '"quoted"',
          "$HOME",
          "`id`",
          "back\\slash",
          "a;b|c&d",
          "*",
          "",
        ]),
    },
    {
      id: "ENV-16",
      claim: "single quotes pass through the shell unchanged",
      source: FAULT,
      mark: "mended",
      run: (world) => passes(world, ["a'b", "it's a test", "'", "''", `'"'`]),
    },
    {
      id: "ENV-17",
      claim: "~, #, =, ^, !, {} and newlines pass through the shell unchanged",
      source: FAULT,
      mark: "mended",
      run: (world) =>
        passes(world, [
          "~/k",
          "#x",
          "a=b",
          "^",
          "!",
          "{a,b}",
          "two\nlines",
          "é",
          "-n",
        ]),
    },
    {
      id: "ENV-18",
      claim:
        "arguments are unchanged in command mode too, with an interactive shell",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const args = ["it's", "$HOME", "!!", "a b", "~"];
        const channel = await running(server, {
          argv: kernelArgv("obedient", ...args),
          startup_environment: "command",
          startup_environment_arg: "true",
        });
        equal(await channel.result("argv"), args, "the kernel's arguments");
      },
    },
    {
      id: "ENV-19",
      claim:
        "with a shell around it, the kernel can be interrupted, killed and watched",
      source: FAULT,
      mark: "mended",
      run: async ({ server }) => {
        const session = await Session.started(server, {
          body: {
            startup_environment: "command",
            startup_environment_arg: "true",
          },
        });
        const channel = await session.channel();
        const pid = Number(await channel.result("pid"));
        const msg_id = channel.execute("sleep 60");
        await channel.busy(msg_id);
        await session.post("interrupt");
        equal(at(await channel.reply(msg_id), "status"), "error", "the reply");
        equal((await session.post("kill")).status, 200, "kill");
        await channel.event("exited");
        await gone(pid);
      },
    },
    {
      id: "ENV-20",
      claim:
        "an empty startup_environment_arg with mode none or shell has no effect",
      source: "positron#13952",
      mark: "same",
      run: async ({ server }) => {
        for (const startup_environment of ["none", "shell"]) {
          const channel = await running(server, {
            startup_environment,
            startup_environment_arg: "",
          });
          equal(
            at((await channel.run("")).reply, "status"),
            "ok",
            startup_environment,
          );
        }
      },
    },
    {
      id: "ENV-21",
      claim:
        "older clients send neither session_mode nor startup_environment; their run_in_shell means the shell",
      source: "Kallichore's own tests, over its versions",
      mark: "mended",
      run: async ({ server }) => {
        const unsaid = {
          session_mode: undefined,
          startup_environment: undefined,
          startup_environment_arg: undefined,
        };
        for (const [run_in_shell, profile] of [
          [true, "profile"],
          [false, null],
          [undefined, null],
        ] as const) {
          const channel = await running(server, { ...unsaid, run_in_shell });
          equal(
            await channel.result("env OF_THE_PROFILE"),
            profile,
            `with run_in_shell ${run_in_shell}`,
          );
        }
      },
    },
  ],
});

async function running(
  server: Server,
  body: Readonly<Record<string, unknown>>,
): Promise<Channel> {
  const session = await Session.started(server, { body });
  return session.channel();
}

async function passes(
  { server }: World,
  args: readonly string[],
): Promise<void> {
  const argv = kernelArgv("obedient", ...args);
  const channel = await running(server, { argv, startup_environment: "shell" });
  equal(await channel.result("argv"), args, "the kernel's arguments");
}

function wrapped(
  id: string,
  mode: string,
  argument: string | undefined,
  wanted: Readonly<Record<string, string | null>>,
): Item<World> {
  return {
    id,
    claim: `startup_environment ${mode}: ${Object.entries(wanted)
      .map(([name, value]) => `${name} is ${value ?? "not set"}`)
      .join(", ")}`,
    source: KALLICHORE,
    mark: "same",
    run: async ({ server }) => {
      const channel = await running(server, {
        startup_environment: mode,
        startup_environment_arg: argument,
      });
      for (const [name, value] of Object.entries(wanted))
        equal(await channel.result(`env ${name}`), value, name);
    },
  };
}
