/** A session under test, with methods for its lifecycle. The default kernel is the kit's obedient one. */
import { randomBytes } from "node:crypto";

import { at, equal, refute, shown, text } from "./check.ts";
import { knock } from "./channel.ts";
import type { Channel } from "./channel.ts";
import { KERNEL } from "./ground.ts";
import { until } from "./request.ts";
import type { Answer, Call } from "./request.ts";
import type { Server } from "./server.ts";

const START_MS = 40_000;

export interface Wanted {
  /** The kernel's mode and its further arguments; `argv` in the body overrides. */
  readonly kernel?: readonly string[];
  readonly body?: Readonly<Record<string, unknown>>;
}

export class Session {
  readonly server: Server;
  readonly id: string;

  constructor(server: Server, id: string) {
    this.server = server;
    this.id = id;
  }

  static async create(server: Server, wanted: Wanted = {}): Promise<Session> {
    const body = newSession(wanted);
    const answer = await server.request("PUT", "/sessions", { body });
    equal(answer.status, 200, `PUT /sessions, answering ${shown(answer.text)}`);
    return new Session(server, text(at(body, "session_id")));
  }

  static async started(server: Server, wanted: Wanted = {}): Promise<Session> {
    const session = await Session.create(server, wanted);
    const answer = await session.start();
    equal(answer.status, 200, `start, answering ${shown(answer.text)}`);
    return session;
  }

  path(operation = ""): string {
    const id = encodeURIComponent(this.id);
    return `/sessions/${id}${operation === "" ? "" : `/${operation}`}`;
  }

  start(): Promise<Answer> {
    return this.post("start", { timeout_ms: START_MS });
  }

  restart(body?: unknown): Promise<Answer> {
    return this.post("restart", {
      timeout_ms: START_MS,
      ...(body === undefined ? {} : { body }),
    });
  }

  post(operation: string, call: Call = {}): Promise<Answer> {
    return this.server.request("POST", this.path(operation), call);
  }

  delete(): Promise<Answer> {
    return this.server.request("DELETE", this.path());
  }

  async details(): Promise<unknown> {
    const answer = await this.server.request("GET", this.path());
    equal(answer.status, 200, `GET ${this.path()}`);
    return answer.body;
  }

  async pid(): Promise<number> {
    return Number(at(await this.details(), "process_id") ?? 0);
  }

  /** Waits until the session reports one of these statuses. */
  becomes(statuses: readonly string[], within_ms = 10_000): Promise<unknown> {
    const ask = async () => at(await this.details(), "status");
    return until(`status ${statuses.join(" or ")}`, ask, {
      holds: (seen) => statuses.includes(text(seen)),
      within_ms,
    });
  }

  /** Opens the channel as the known front end does. */
  async channel(
    options: { readonly autoPong?: boolean } = {},
  ): Promise<Channel> {
    const url = await this.url();
    const { status, channel } = await knock(
      url,
      this.server.authorization(),
      options,
    );
    return channel ?? refute(`the upgrade at ${url} was answered ${status}`);
  }

  /** The address of the channel; on a Unix socket, a separate request returns it. */
  async url(): Promise<string> {
    const { address } = this.server;
    if ("port" in address)
      return `ws://${address.host}:${address.port}${this.path("channels")}`;
    const answer = await this.server.request("GET", this.path("channels"));
    equal(answer.status, 200, "GET channels on a Unix socket");
    const place = text(answer.body);
    if (place.startsWith("ws+unix:")) return place;
    const path = place.startsWith("/") ? place : address.socketPath;
    return `ws+unix://${path}:/api/channels/${encodeURIComponent(this.id)}`;
  }
}

export function newSession(wanted: Wanted = {}): Record<string, unknown> {
  const [mode = "obedient", ...rest] = wanted.kernel ?? [];
  return {
    session_id: newId(),
    display_name: "Scripted",
    language: "scripted",
    username: "conformance",
    input_prompt: "",
    continuation_prompt: "",
    argv: kernelArgv(mode, ...rest),
    session_mode: "console",
    working_directory: "",
    env: [],
    connection_timeout: 20,
    interrupt_mode: "signal",
    startup_environment: "none",
    startup_environment_arg: "",
    ...wanted.body,
  };
}

export function kernelArgv(mode: string, ...rest: readonly string[]): string[] {
  return [process.execPath, KERNEL, mode, "{connection_file}", ...rest];
}

export function newId(): string {
  return `scripted-${randomBytes(4).toString("hex")}`;
}
