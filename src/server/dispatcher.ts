/**
 * Handles every request of every listener: first the gate, then
 * the first door that serves the address. Answers that are the same for all
 * doors are made here: failures, the span's id, OPTIONS, 404 and 405, CORS.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { failure } from "../../contract/index.ts";
import type { Guard } from "../log/guard.ts";
import { urlOf } from "./address.ts";
import { toFailure } from "./answers/router.ts";
import type { BasePath } from "./base-path.ts";
import type { DoorRequest, UpgradeRequest, Door } from "./door.ts";
import { gateOf, type GateOptions } from "./gate.ts";
import { lingerAfter } from "./request-body.ts";
import { CLIENT } from "./principal.ts";
import { sendFailure } from "./respond.ts";
import { SPAN, spanOf } from "./span.ts";
import { requestScheduler } from "../time/request-scheduler.ts";

export type DispatcherOptions = GateOptions & {
  readonly basePath: BasePath;
  readonly doors: readonly Door[];
  readonly guard: Guard;
};

/** The methods of the server as a whole (`OPTIONS *`). */
const EVERYWHERE = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"];

export interface Dispatcher {
  /** Answers a request; never rejects. */
  handle(req: IncomingMessage, res: ServerResponse): Promise<void>;
  /** Opens a WebSocket, or answers with a failure; never rejects. */
  upgrade(request: Omit<UpgradeRequest, "url">): Promise<void>;
  close(): void;
}

export function dispatcherOf({
  doors,
  guard,
  basePath,
  ...options
}: DispatcherOptions): Dispatcher {
  const gate = gateOf(options);
  return {
    async handle(req, res) {
      lingerAfter(req, res);
      const { url, isOutside } = enter(req, basePath);
      const { method = "" } = req;
      const request: DoorRequest = { req, res, url, method };
      const door = isOutside ? undefined : doorFor(request, doors);
      try {
        res.setHeader(SPAN, spanOf(req));
        await requestScheduler.next();
        allowOrigin(res, gate.allowedOrigin(req));
        const isOpen = door?.isOpen?.(method, url.pathname) ?? isOutside;
        const isPreflight = method === "OPTIONS" && res.hasHeader(ALLOW_ORIGIN);
        const by = await gate.admit(req, url, isOpen || isPreflight);
        const cookies = by.kind === "token" ? gate.cookiesFor(req, url) : [];
        if (cookies.length > 0) res.setHeader("set-cookie", cookies);
        if (isOutside) throw outsideFailure(url, basePath);
        if (method === "OPTIONS") answerOptions(request, doors);
        else if (door === undefined) throw noDoorFailure(request, doors);
        else await door.handle(request);
      } catch (error) {
        answerFailure(request, door, error, guard);
      }
    },
    async upgrade(request) {
      const { url, isOutside } = enter(request.req, basePath);
      const { pathname: path } = url;
      const { req } = request;
      const door = doors.find((each) => each.upgradesAt?.(path));
      try {
        await gate.admit(req, url, isOutside);
        if (isOutside) throw outsideFailure(url, basePath);
        if (door?.upgrade === undefined) throw failure("not_found", { path });
        await door.upgrade({ ...request, url });
      } catch (error) {
        const failed = toFailure(error);
        if (failed.reason === "internal") {
          guard.report(failed.cause, "an upgrade");
        }
        const asked = { req, url, method: "GET" };
        const { status, body } = door?.encodeFailure?.(failed, asked) ?? failed;
        request.answer(status, body);
      }
    },
    close() {
      for (const door of doors) door.close?.();
    },
  };
}

interface Entered {
  readonly url: URL;
  /** The request is not below the base path; its path is then as it came. */
  readonly isOutside: boolean;
}

/** The address below the base path, as the doors know it. It is the request's own address from now on. */
function enter(req: IncomingMessage, basePath: BasePath): Entered {
  const url = urlOf(req);
  if (url.pathname === "/*") return { url, isOutside: false };
  const below = basePath.below(url.pathname);
  if (below === undefined) return { url, isOutside: true };
  url.pathname = below;
  req.url = below + url.search;
  return { url, isOutside: false };
}

function outsideFailure({ pathname: path }: URL, basePath: BasePath) {
  return failure("not_found", { path, basePath: basePath.path });
}

/** The door that serves this method and path. */
function doorFor(
  { method, url: { pathname } }: DoorRequest,
  doors: readonly Door[],
): Door | undefined {
  return doors.find((each) => each.methodsAt(pathname).includes(method));
}

function methodsAt(path: string, doors: readonly Door[]): readonly string[] {
  if (path === "/*") return EVERYWHERE;
  return [...new Set(doors.flatMap((door) => door.methodsAt(path)))];
}

function answerOptions(
  { res, url: { pathname: path } }: DoorRequest,
  doors: readonly Door[],
): void {
  const allow = methodsAt(path, doors);
  if (allow.length === 0) throw failure("not_found", { path });
  res.setHeader("allow", [...allow, "OPTIONS"].join(", "));
  res.writeHead(204).end();
}

function noDoorFailure(
  { res, method, url: { pathname: path } }: DoorRequest,
  doors: readonly Door[],
) {
  const allowed = methodsAt(path, doors);
  if (allowed.length === 0) return failure("not_found", { path });
  const allow = [...allowed, "OPTIONS"].join(", ");
  res.setHeader("allow", allow);
  return failure("method_not_allowed", { method, allow });
}

/** Answers with the failure of an error that was thrown in a door or before it. */
function answerFailure(
  request: DoorRequest,
  door: Door | undefined,
  error: unknown,
  guard: Guard,
): void {
  const { res, method, url } = request;
  const failed = toFailure(error);
  if (failed.reason === "internal") {
    guard.report(failed.cause, `${method} ${url.pathname}`);
  }
  try {
    if (res.headersSent) res.destroy();
    else sendFailure(res, failed, door?.encodeFailure?.(failed, request));
  } catch (cause) {
    guard.report(cause, "an answer");
    res.destroy();
  }
}

function allowOrigin(res: ServerResponse, origin: string | undefined): void {
  if (origin === undefined) return;
  res.setHeader(ALLOW_ORIGIN, origin);
  res.setHeader("vary", "Origin");
  res.setHeader(
    "access-control-allow-methods",
    "GET, PUT, POST, PATCH, DELETE",
  );
  res.setHeader(
    "access-control-allow-headers",
    `accept, authorization, content-type, last-event-id, ${CLIENT}, ${SPAN}, trpc-accept, x-xsrftoken`,
  );
  res.setHeader("access-control-expose-headers", `location, ${SPAN}`);
  res.setHeader("access-control-max-age", "600");
}

const ALLOW_ORIGIN = "access-control-allow-origin";
