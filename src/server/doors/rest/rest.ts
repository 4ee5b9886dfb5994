/**
 * The contract as plain HTTP: one loop over the operations that have a route.
 *
 * Bodies are JSON whatever the client calls them. Successes have the status and
 * the shape that the contract says; failures are looked up in its table.
 */
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
} from "../../../../contract/index.ts";
import { clientInput, LargeInput } from "../../answers/client-input.ts";
import { stringify } from "../../../jupyter/raw-json.ts";
import { streamEvents } from "./event-stream.ts";
import { bodyOf, endAfterBody, isExpectant } from "../../request-body.ts";
import { type Feed, toFailure } from "../../answers/router.ts";
import type { Service } from "../../answers/service.ts";
import { share } from "../../../time/share.ts";
import { SPAN, spanOf } from "../../span.ts";
import { principalOf } from "../../principal.ts";
import type { Told } from "../../answers/told.ts";

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
      (candidate) => answers(candidate, method) && candidate.pattern.test(path),
    );
    return route?.operation.access === "open";
  }

  /** What may be asked of an address. */
  methodsAt(path: string): readonly string[] {
    return this.#routes
      .filter(({ pattern }) => pattern.test(path))
      .flatMap(({ method }) => (method === "GET" ? [method, "HEAD"] : method));
  }

  /** Answers; never rejects. `allowed` is what may be asked of the address. */
  async handle(
    req: IncomingMessage,
    res: ServerResponse,
    url: URL,
    allowed: readonly string[] = this.methodsAt(url.pathname),
  ): Promise<void> {
    let route: RestRoute | undefined;
    try {
      route = this.#routeOf(req, res, url.pathname, allowed);
      const input = await inputOf(req, res, url, route);
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
        ctx: {
          service: this.#service,
          by: principalOf(req),
          feed: asTheyAre,
        },
        signal: gone.signal,
        batchIndex: 0,
      });
      if (route.operation.kind === "subscription") {
        const { reader_patience_ms } = this.#service.limits;
        const subscription = data as AsyncIterable<Told>;
        if (req.method === "HEAD") gone.abort(); // the head of the answer, and its end
        await streamEvents(res, subscription, reader_patience_ms);
      } else sendJson(res, route.operation.status ?? 200, data);
    } catch (error) {
      const failed = toFailure(error);
      if (failed.reason === "internal") {
        const where = route?.procedure ?? "a request";
        this.#service.guard.tell(failed.cause ?? failed, where);
      }
      if (res.headersSent) res.destroy();
      else sendFailure(res, failed, route?.operation);
    }
  }

  /** Throws `not_found`, `method_not_allowed`. */
  #routeOf(
    { method = "" }: IncomingMessage,
    res: ServerResponse,
    path: string,
    allowed: readonly string[],
  ): RestRoute {
    const route = this.#routes.find(
      (candidate) => answers(candidate, method) && candidate.pattern.test(path),
    );
    if (route !== undefined) return route;
    if (allowed.length === 0) throw failure("not_found", { path });
    const allow = [...allowed, "OPTIONS"].join(", ");
    res.setHeader("allow", allow);
    throw failure("method_not_allowed", { method, allow });
  }
}

/** HEAD is GET without a body, which Node leaves out. */
function answers(route: RestRoute, method: string | undefined): boolean {
  return route.method === (method === "HEAD" ? "GET" : method);
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
  res: ServerResponse,
  url: URL,
  { method, pattern, operation }: RestRoute,
): Promise<unknown> {
  if (isVoid(operation)) {
    req.resume();
    return undefined;
  }
  const { groups } = pattern.exec(url.pathname) ?? {};
  const inPath = Object.entries(groups ?? {}).map(([name, value]) => [
    name,
    decoded(value),
  ]);
  // Spread, not assigned: `__proto__` is a key like any other.
  const whole = (input: object): Record<string, unknown> => ({
    ...input,
    ...(Object.fromEntries(inPath) as Record<string, string>),
  });
  if (method !== "GET") {
    const body = await share.all(
      clientInput(await textOf(req, res), operation),
    );
    if (body instanceof LargeInput) {
      return new LargeInput(whole(body.value), body.unread);
    }
    if (typeof body === "object" && !Array.isArray(body)) {
      return whole(body ?? {});
    }
    throw failure("bad_request", { why: "The body is not a JSON object" });
  }
  req.resume();
  const input: Record<string, unknown> = {};
  for (const [name, value] of url.searchParams) {
    if (name !== "token" && name !== "client") input[name] = value;
  }
  const lastEventId = req.headers["last-event-id"];
  if (operation.kind === "subscription" && lastEventId !== undefined) {
    input["lastEventId"] = lastEventId;
  }
  return whole(input);
}

const NULL = Buffer.from("null");

/** A body of nothing but white space is none, and none is `null`. */
async function textOf(
  req: IncomingMessage,
  res: ServerResponse,
): Promise<Buffer> {
  const text = await bodyOf(req, res);
  return text.length < 1024 && text.toString().trim() === "" ? NULL : text;
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
  const value = input instanceof LargeInput ? input.value : input;
  const unknown = Object.keys(value as object)
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
  const body = Buffer.from(stringify(data ?? null));
  res.writeHead(status, {
    "content-type": "application/json",
    "content-length": body.length,
    "cache-control": "no-store",
  });
  endAfterBody(res, body);
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
  if (isExpectant(res.req)) res.setHeader("connection", "close"); // its body will not come
  const status =
    operation === undefined
      ? failed.status
      : statusOf(operation, failed.reason);
  sendJson(res, status, isStartup ? failed.startupBody : failed.body);
}
