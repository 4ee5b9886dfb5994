/**
 * The contract as plain HTTP: one loop over the operations that have a route.
 *
 * Bodies are JSON, whatever their content type says. The contract defines the
 * status and the shape of each success, and its table those of each failure.
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
} from "../../../../contract/index.ts";
import { clientInput } from "../../answers/client-input.ts";
import { streamEvents } from "./event-stream.ts";
import type { Door } from "../../door.ts";
import { bodyOf } from "../../request-body.ts";
import {
  abortedByClose,
  guardJupyterAnswer,
  jupyterBodyOf,
  sendJson,
} from "../../respond.ts";
import type { Context, SubscriptionEncoder } from "../../answers/router.ts";
import type { Service } from "../../answers/service.ts";
import { requestScheduler } from "../../../time/request-scheduler.ts";
import { decodedSegment } from "../../address.ts";
import { principalOf } from "../../principal.ts";
import type { SubscriptionItem } from "../../answers/subscription.ts";

interface RestRoute {
  readonly method: Method;
  readonly pattern: RegExp;
  readonly procedure: string;
  readonly operation: Operation;
}

export function restDoor(router: AppRouter, service: Service): Door {
  const routes = routesOf(contract);
  const routeAt = (method: string, path: string) =>
    routes.find(
      (route) => servesMethod(route, method) && route.pattern.test(path),
    );
  return {
    methodsAt: (path) =>
      routes
        .filter(({ pattern }) => pattern.test(path))
        .flatMap(({ method }) =>
          method === "GET" ? [method, "HEAD"] : method,
        ),

    isOpen: (method, path) =>
      routeAt(method, path)?.operation.access === "open",

    async handle({ req, res, method, url }) {
      const route = routeAt(method, url.pathname);
      if (route === undefined) {
        throw failure("not_found", { path: url.pathname });
      }
      const { operation, procedure } = route;
      if (operation.failure === "jupyter") {
        guardJupyterAnswer(res, service.basePath);
      }
      const input = await inputOf(req, res, url, route);
      const unknown = unknownFields(input, operation);
      if (unknown.length > 0) {
        res.setHeader("warning", `Ignoring unknown fields in body: ${unknown}`);
      }
      const gone = abortedByClose(res);
      const by = principalOf(req);
      const ctx: Context = { service, by, subscriptionEncoder: unchanged };
      const data: unknown = await callTRPCProcedure({
        router,
        path: procedure,
        type: operation.kind,
        getRawInput: () => Promise.resolve(input),
        ctx,
        signal: gone.signal,
        batchIndex: 0,
      });
      const { guard, limits } = service;
      const timeout_ms = limits.reader_timeout_ms;
      if (operation.kind === "subscription") {
        const subscription = data as AsyncIterable<SubscriptionItem>;
        if (method === "HEAD") gone.abort(); // only the head of the response
        await streamEvents(res, subscription, timeout_ms, guard);
        return;
      }
      const { status, location } = outcomeOf(operation, data);
      if (location !== undefined) {
        res.setHeader(
          "location",
          service.basePath + locationOf(location, data),
        );
      }
      if (status === 204) res.writeHead(status).end();
      else await sendJson(res, status, data, timeout_ms);
    },

    /** Includes the output of a failed start, if the operation promises it. */
    encodeFailure(failed, { method, url }) {
      const operation = routeAt(method, url.pathname)?.operation;
      if (operation === undefined) return failed;
      const { status, body, startupBody } = failed;
      if (operation.failure === "jupyter") {
        return {
          status: statusOf(operation, failed.reason),
          body: jupyterBodyOf(failed),
        };
      }
      const isStartup =
        operation.failure === "startup" && status !== 401 && status !== 404;
      return {
        status: statusOf(operation, failed.reason),
        body: isStartup ? startupBody : body,
      };
    },
  };
}

/** How the success is answered. */
function outcomeOf(
  operation: Operation,
  data: unknown,
): { readonly status: number; readonly location?: string | undefined } {
  const { status = 200, location, outcomes } = operation;
  if (outcomes === undefined) return { status, location };
  const members = data as Readonly<Record<string, unknown>>;
  return outcomes.cases[String(members[outcomes.by])] ?? { status };
}

/** The path of what was made, below the server's own. */
function locationOf(template: string, data: unknown): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const members = data as Readonly<Record<string, unknown>>;
    return encodeURIComponent(String(members[name]));
  });
}

/** HEAD is GET without a body, which Node leaves out. */
function servesMethod(route: RestRoute, method: string | undefined): boolean {
  return route.method === (method === "HEAD" ? "GET" : method);
}

/** Server-sent events are encoded from the journal's own bytes, so the items stay as they are. */
const unchanged: SubscriptionEncoder = {
  encode: (subscription) => subscription,
};

/** Routes with fixed segments come before those with parameters, so that `/sessions/x` never hides another route. */
function routesOf(operations: Contract): readonly RestRoute[] {
  const routes = Object.entries(operations).flatMap(([group, members]) =>
    Object.entries(members).flatMap(([name, operation]) => {
      if (operation.route === undefined) return [];
      const { method, path } = partsOf(operation.route);
      // Clients of Jupyter's may end the address with a slash. A GET is redirected.
      const end =
        operation.failure === "jupyter" && method !== "GET" ? "/?" : "";
      const source = path
        .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
        .replace(/\{(\w+)\}/g, "(?<$1>[^/]*)");
      const pattern = new RegExp(`^${source}${end}$`);
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
    decodedSegment(value),
  ]);
  // Spread, not assigned: so `__proto__` is an ordinary key.
  const whole = (input: object): Record<string, unknown> => ({
    ...input,
    ...(Object.fromEntries(inPath) as Record<string, string>),
  });
  if (method !== "GET") {
    const body = await requestScheduler.run(
      clientInput(await textOf(req, res), operation),
    );
    if (typeof body === "object" && !Array.isArray(body)) {
      return whole({ ...inQueryOf(url, operation), ...body });
    }
    throw failure("bad_request", { why: "The body is not a JSON object" });
  }
  req.resume();
  const input: Record<string, unknown> = {};
  for (const [name, value] of url.searchParams) {
    if (name === "token" || name === "client") continue;
    const isRepeated = operation.kind === "query" && Object.hasOwn(input, name);
    input[name] = isRepeated ? [input[name], value].flat() : value;
  }
  const lastEventId = req.headers["last-event-id"];
  if (operation.kind === "subscription" && lastEventId !== undefined) {
    input["lastEventId"] = lastEventId;
  }
  return whole(input);
}

/** The input fields that an operation with a body also takes from the query. */
function inQueryOf(
  { searchParams }: URL,
  { inQuery = [] }: Operation,
): Record<string, string> {
  const given = inQuery.filter((name) => searchParams.has(name));
  return Object.fromEntries(
    given.map((name) => [name, searchParams.get(name) ?? ""]),
  );
}

const NULL = Buffer.from("null");

/** A body that is empty or only white space is read as `null`. */
async function textOf(
  req: IncomingMessage,
  res: ServerResponse,
): Promise<Buffer> {
  const text = await bodyOf(req, res);
  return text.length < 1024 && text.toString().trim() === "" ? NULL : text;
}

/** The names of unknown fields, as a list in JSON; empty if all are known. They are accepted, because clients may be newer than the server. */
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
