/**
 * The one way in, whatever listens before it: the gate, then the first door
 * that serves the address. What several doors answer alike is answered here:
 * failures, the span's id, OPTIONS, 404 and 405, other origins.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { failure } from "../../contract/index.ts";
import type { Guard } from "../log/guard.ts";
import { urlOf } from "./address.ts";
import { toFailure } from "./answers/router.ts";
import type { DoorRequest, UpgradeRequest, Door } from "./door.ts";
import { type Gate, gateOf, type GateOptions } from "./gate.ts";
import { lingerAfter } from "./request-body.ts";
import { CLIENT } from "./principal.ts";
import { sendFailure } from "./respond.ts";
import { SPAN, spanOf } from "./span.ts";
import { share } from "../time/share.ts";

export type EntranceOptions = GateOptions & {
  readonly doors: readonly Door[];
  readonly guard: Guard;
};

/** Of the server as a whole. */
const EVERYWHERE = ["GET", "HEAD", "PUT", "POST", "DELETE"];

export class Entrance {
  readonly #gate: Gate;
  readonly #doors: readonly Door[];
  readonly #guard: Guard;

  constructor({ doors, guard, ...gate }: EntranceOptions) {
    this.#gate = gateOf(gate);
    this.#doors = doors;
    this.#guard = guard;
  }

  /** Answers; never rejects. */
  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    lingerAfter(req, res);
    const url = urlOf(req);
    const { method = "" } = req;
    const asked: DoorRequest = { req, res, url, method };
    const door = this.#doorFor(asked);
    try {
      res.setHeader(SPAN, spanOf(req));
      await share.turn();
      this.#allowOrigin(asked);
      const isOpen = door?.isOpen?.(method, url.pathname) ?? false;
      const isPreflight = method === "OPTIONS" && res.hasHeader(ALLOW_ORIGIN);
      this.#gate.admit(req, url, isOpen || isPreflight);
      if (method === "OPTIONS") this.#tellMethods(asked);
      else if (door === undefined) throw this.#noDoor(asked);
      else await door.handle(asked);
    } catch (error) {
      this.#fail(asked, door, error);
    }
  }

  /** Opens a WebSocket, or answers why not; never rejects. */
  async upgrade(asked: UpgradeRequest): Promise<void> {
    const path = asked.url.pathname;
    try {
      this.#gate.admit(asked.req, asked.url, false);
      const door = this.#doors.find((each) => each.upgradesAt?.(path));
      if (door?.upgrade === undefined) throw failure("not_found", { path });
      await door.upgrade(asked);
    } catch (error) {
      const { status, body, reason, cause } = toFailure(error);
      if (reason === "internal") this.#guard.tell(cause, "an upgrade");
      asked.answer(status, body);
    }
  }

  close(): void {
    for (const door of this.#doors) door.close?.();
  }

  /** The door that answers, or would if something else were asked. */
  #doorFor({ method, url: { pathname } }: DoorRequest): Door | undefined {
    const serves = (each: Door) => each.methodsAt(pathname).includes(method);
    return this.#doors.find(serves);
  }

  #methodsAt(path: string): readonly string[] {
    if (path === "/*") return EVERYWHERE;
    return [...new Set(this.#doors.flatMap((door) => door.methodsAt(path)))];
  }

  #tellMethods({ res, url: { pathname: path } }: DoorRequest): void {
    const allow = this.#methodsAt(path);
    if (allow.length === 0) throw failure("not_found", { path });
    res.setHeader("allow", [...allow, "OPTIONS"].join(", "));
    res.writeHead(204).end();
  }

  #noDoor({ res, method, url: { pathname: path } }: DoorRequest) {
    const allowed = this.#methodsAt(path);
    if (allowed.length === 0) return failure("not_found", { path });
    const allow = [...allowed, "OPTIONS"].join(", ");
    res.setHeader("allow", allow);
    return failure("method_not_allowed", { method, allow });
  }

  /** What went wrong before a door answered, or in one. */
  #fail(asked: DoorRequest, door: Door | undefined, error: unknown): void {
    const { res, method, url } = asked;
    const failed = toFailure(error);
    if (failed.reason === "internal") {
      this.#guard.tell(failed.cause, `${method} ${url.pathname}`);
    }
    try {
      if (res.headersSent) res.destroy();
      else sendFailure(res, failed, door?.spell?.(failed, asked));
    } catch (cause) {
      this.#guard.tell(cause, "an answer");
      res.destroy();
    }
  }

  #allowOrigin({ req, res }: DoorRequest): void {
    const origin = this.#gate.allowedOrigin(req);
    if (origin === undefined) return;
    res.setHeader(ALLOW_ORIGIN, origin);
    res.setHeader("vary", "Origin");
    res.setHeader("access-control-allow-methods", "GET, PUT, POST, DELETE");
    res.setHeader(
      "access-control-allow-headers",
      `authorization, content-type, last-event-id, ${CLIENT}, ${SPAN}, trpc-accept`,
    );
    res.setHeader("access-control-expose-headers", SPAN);
    res.setHeader("access-control-max-age", "600");
  }
}

const ALLOW_ORIGIN = "access-control-allow-origin";
