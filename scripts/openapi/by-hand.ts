/**
 * What is no plain question and answer, and so written by hand: a subscription
 * as server-sent events, the channels' WebSocket, and the document itself.
 */
import type { oas31 } from "zod-openapi";
import { responses } from "./failures.ts";
import { inHeaderOrQuery } from "./words.ts";

/** The header `Location`. */
export const pathHeader: oas31.HeaderObject = {
  description: "A path of this server",
  schema: { type: "string" },
};

export const spanId = {
  "x-span-id": { $ref: "#/components/headers/x-span-id" },
};

/** The 200 of a subscription. Its type in JSON Schema is that of each `data:` line. */
export function eventStream(event: string): oas31.ResponseObject {
  return {
    description:
      "Server-sent events, one for each thing said: `id` is its position (`<journal_id>:<seq>`), `data` is it, as JSON on one line. Comments in between keep the connection",
    headers: spanId,
    content: {
      "text/event-stream": {
        // `contentSchema` is JSON Schema, which the types of OpenAPI leave out.
        schema: {
          type: "string",
          contentMediaType: "application/json",
          contentSchema: { $ref: `#/components/schemas/${event}` },
        } as oas31.SchemaObject,
        example:
          'id: 9f86d081884c7d65:7\ndata: {"kind":"status","seq":7,"status":"idle","reason":"execute_request"}\n\n',
      },
    },
  };
}

export const channels: oas31.PathsObject = {
  "/sessions/{session_id}/channels": {
    get: {
      operationId: "sessionsChannels",
      tags: ["sessions"],
      summary: "Open the session's channels",
      description:
        "The WebSocket that Kallichore's clients speak: text frames of JSON, `ClientMessage` from the client, Jupyter messages and the supervisor's own to it. One client at a time owns it: a newcomer displaces the one before. Behind a Unix socket or a named pipe the answer to a plain request is where to connect instead.",
      security: inHeaderOrQuery,
      parameters: [
        {
          name: "session_id",
          in: "path",
          required: true,
          schema: { type: "string", minLength: 1 },
          example: "a",
        },
        {
          name: "events",
          in: "query",
          description:
            "`all`: also what Kallichore has no word for (`gap` and later events), and `seq` in each of the server's own events. Otherwise these events have one member beside `kind`, as Kallichore's types expect",
          schema: { type: "string", enum: ["all"] },
        },
      ],
      responses: {
        101: { description: "The WebSocket is open" },
        200: {
          description:
            "On a Unix socket or a named pipe: the path of the session's own socket",
          headers: spanId,
          content: {
            "application/json": {
              schema: { type: "string" },
              example: "/run/user/1000/kallichore/kc-4711.a.sock",
            },
          },
        },
        ...responses([
          "bad_request",
          "unauthorized",
          "forbidden",
          "session_not_found",
          "internal",
        ]),
        426: {
          description: "On TCP, without `Upgrade: websocket`",
          headers: spanId,
          content: {
            "application/json": {
              schema: { $ref: "#/components/schemas/Error" },
              example: {
                code: "upgrade_required",
                message: "This address is a WebSocket: connect to it as one",
              },
            },
          },
        },
      },
    },
  },
};

export const documentation: oas31.PathsObject = {
  "/openapi.json": {
    get: {
      operationId: "documentationOpenapi",
      tags: ["documentation"],
      summary: "This document",
      description: "The same file for every server of this version.",
      security: inHeaderOrQuery,
      responses: {
        200: {
          description: "OpenAPI 3.1",
          headers: spanId,
          content: { "application/json": { schema: { type: "object" } } },
        },
        ...responses(["unauthorized", "forbidden", "internal"]),
      },
    },
  },
  "/docs": {
    get: {
      operationId: "documentationPage",
      tags: ["documentation"],
      summary: "This document as a page that can be tried out",
      description:
        "Works offline. Open it with `?token=`: the page takes the token out of the address and asks with it.",
      security: inHeaderOrQuery,
      responses: {
        200: {
          description: "One HTML page that needs nothing else",
          headers: spanId,
          content: { "text/html": { schema: { type: "string" } } },
        },
        ...responses(["unauthorized", "forbidden", "internal"]),
      },
    },
  },
};
