/**
 * The contract as plain HTTP: one loop over the operations that have a route.
 *
 * Bodies are JSON whatever the client calls them. Successes have the status and
 * the shape that the contract says; failures are looked up in its table.
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { callTRPCProcedure } from "@trpc/server";
import type * as z from "zod";
import {
  type AppRouter,
  contract,
  type Contract,
  failure,
  type Method,
  type Operation,
  partsOf,
  statusOf,
  type SupervisorError,
} from "../../contract/index.ts";
import { streamEvents } from "./event-stream.ts";
import { type Feed, toFailure } from "./router.ts";
import type { Service } from "./service.ts";
import type { Told } from "./told.ts";

const MAX_BODY = 64 * 1024 * 1024; // bytes

interface RestRoute {
  readonly method: Method;
  readonly pattern: RegExp;
  readonly procedure: string;
  readonly operation: Operation;
}

export class RestDoor {
  readonly #routes: readonly RestRoute[];
  readonly #router: AppRouter;
  readonly #service: Service;

  constructor(router: AppRouter, service: Service) {
    this.#router = router;
    this.#service = service;
    this.#routes = routesOf(contract);
  }

  /** Whether the operation at this address needs no token. */
  isOpen(method: string | undefined, path: string): boolean {
    const route = this.#routes.find(
      (candidate) =>
        candidate.method === method && candidate.pattern.test(path),
    );
    return route?.operation.access === "open";
  }

  /** Answers; never rejects. */
  async handle(
    req: IncomingMessage,
    res: ServerResponse,
    url: URL,
  ): Promise<void> {
    let route: RestRoute | undefined;
    try {
      route = this.#routeOf(req, url.pathname);
      const input = await inputOf(req, url, route);
      const unknown = unknownFields(input, route.operation);
      if (unknown.length > 0) {
        res.setHeader("warning", `Ignoring unknown fields in body: ${unknown}`);
      }
      const gone = new AbortController();
      res.once("close", () => gone.abort());
      if (res.destroyed) gone.abort(); // while its body was read
      const data: unknown = await callTRPCProcedure({
        router: this.#router,
        path: route.procedure,
        type: route.operation.kind,
        getRawInput: () => Promise.resolve(input),
        ctx: { service: this.#service, feed: asTheyAre },
        signal: gone.signal,
        batchIndex: 0,
      });
      if (route.operation.kind === "subscription") {
        const { reader_patience_ms } = this.#service.limits;
        const subscription = data as AsyncIterable<Told>;
        await streamEvents(res, subscription, reader_patience_ms);
      } else sendJson(res, route.operation.status ?? 200, data);
    } catch (error) {
      const failed = toFailure(error);
      if (failed.reason === "internal") {
        const err = failed.cause ?? failed;
        this.#service.log.error(
          { err, path: route?.procedure },
          "An operation went wrong",
        );
      }
      if (res.headersSent) res.destroy();
      else sendFailure(res, failed, route?.operation);
    }
  }

  /** Throws `not_found`, `method_not_allowed`. */
  #routeOf(req: IncomingMessage, path: string): RestRoute {
    const here = this.#routes.filter(({ pattern }) => pattern.test(path));
    if (here.length === 0) throw failure("not_found", { path });
    const route = here.find(({ method }) => method === req.method);
    if (route !== undefined) return route;
    const allow = here.map(({ method }) => method).join(", ");
    throw failure("method_not_allowed", { method: req.method ?? "", allow });
  }
}

/** Server-sent events are spelled from the journal's own bytes. */
const asTheyAre: Feed = { take: (subscription) => subscription };

/** Fixed segments before those with parameters, so that `/sessions/x` never hides another route. */
function routesOf(operations: Contract): readonly RestRoute[] {
  const routes = Object.entries(operations).flatMap(([group, members]) =>
    Object.entries(members).flatMap(([name, operation]) => {
      if (operation.route === undefined) return [];
      const { method, path } = partsOf(operation.route);
      const source = path
        .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
        .replace(/\{(\w+)\}/g, "(?<$1>[^/]*)");
      const pattern = new RegExp(`^${source}$`);
      return [{ method, pattern, procedure: `${group}.${name}`, operation }];
    }),
  );
  const parameters = ({ pattern }: RestRoute) =>
    pattern.source.split("(?<").length;
  return routes.toSorted((a, b) => parameters(a) - parameters(b));
}

/** The operation's input, put together from path, query and body. */
async function inputOf(
  req: IncomingMessage,
  url: URL,
  { method, pattern, operation }: RestRoute,
): Promise<unknown> {
  if (isVoid(operation)) {
    req.resume();
    return undefined;
  }
  let input: Record<string, unknown> = {};
  if (method === "GET") {
    req.resume();
    for (const [name, value] of url.searchParams) {
      if (name !== "token") input[name] = value;
    }
    const lastEventId = req.headers["last-event-id"];
    if (operation.kind === "subscription" && lastEventId !== undefined) {
      input["lastEventId"] = lastEventId;
    }
  } else {
    // Spread, not assigned: `__proto__` is a key like any other.
    input = { ...(await bodyOf(req)) };
  }
  const { groups } = pattern.exec(url.pathname) ?? {};
  for (const [name, value] of Object.entries(groups ?? {})) {
    input[name] = decoded(value);
  }
  return input;
}

/** `undefined` for no body. Throws `bad_request` for one that is no JSON object, `too_large`. */
async function bodyOf(req: IncomingMessage): Promise<object | undefined> {
  const text = await textOf(req);
  if (text.trim() === "") return undefined;
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    const why = `The body is no JSON: ${(cause as Error).message.slice(0, 100)}`;
    throw failure("bad_request", { why }, { cause });
  }
  if (body === null) return undefined;
  if (typeof body !== "object" || Array.isArray(body)) {
    throw failure("bad_request", { why: "The body is no JSON object" });
  }
  return body;
}

async function textOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of req as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_BODY) throw failure("too_large", { limit: MAX_BODY });
      chunks.push(chunk);
    }
  } catch (cause) {
    if (!req.errored) throw cause;
    throw failure("bad_request", { why: "The body broke off" }, { cause });
  }
  return Buffer.concat(chunks, size).toString();
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    const why = "The path is no percent-encoded UTF-8";
    throw failure("bad_request", { why }, { cause });
  }
}

/** Fields that mean nothing here, as a list in JSON; empty where all are known. They are let pass, because clients may be newer than we are. */
function unknownFields(input: unknown, { input: schema }: Operation): string {
  const { def } = schema as z.ZodType;
  if (def.type !== "object" || input === undefined) return "";
  const { shape } = def as z.core.$ZodObjectDef;
  const unknown = Object.keys(input as object)
    .filter((name) => !Object.hasOwn(shape, name))
    .slice(0, 20)
    .map((name) => name.slice(0, 100).replace(/[^\x20-\x7e]/g, "?"));
  return unknown.length === 0 ? "" : JSON.stringify(unknown);
}

function isVoid({ input }: Operation): boolean {
  return (input as z.ZodType).def.type === "void";
}

export function sendJson(
  res: ServerResponse,
  status: number,
  data: unknown,
): void {
  const body = Buffer.from(JSON.stringify(data ?? null));
  res.writeHead(status, {
    "content-type": "application/json",
    "content-length": body.length,
    "cache-control": "no-store",
  });
  res.end(body);
}

/** What a failed start leaves behind rides along, where the operation promises it. */
export function sendFailure(
  res: ServerResponse,
  failed: SupervisorError,
  operation?: Operation,
): void {
  if (!res.hasHeader(SPAN)) res.setHeader(SPAN, spanOf(res.req)); // it never came to a door
  const isStartup =
    operation?.failure === "startup" &&
    failed.status !== 401 &&
    failed.status !== 404;
  if (failed.reason === "unauthorized") {
    res.setHeader("www-authenticate", "Bearer");
  }
  if (failed.reason === "too_large") res.setHeader("connection", "close");
  const status =
    operation === undefined
      ? failed.status
      : statusOf(operation, failed.reason);
  sendJson(res, status, isStartup ? failed.startupBody : failed.body);
}

export const SPAN = "x-span-id";

/** The request's own, echoed, or a new one: by it a log line and an answer find each other. */
export function spanOf(req: IncomingMessage): string {
  const given = req.headers[SPAN];
  return typeof given === "string" && /^[\x21-\x7e]{1,200}$/.test(given)
    ? given
    : randomUUID();
}
