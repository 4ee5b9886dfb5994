/**
 * The parts of the document that are written by hand, because they are not a plain
 * request with a response: a subscription as server-sent events, the channels'
 * WebSocket, and the document itself.
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

/** The response 200 of a subscription. `event` names the JSON Schema of each `data:` line. */
export function eventStream(event: string): oas31.ResponseObject {
  return {
    description:
      "Server-sent events, one for each event of the session: `id` is its position (`<journal_id>:<seq>`), `data` is the event as JSON on one line. Comments between them keep the connection open",
    headers: spanId,
    content: {
      "text/event-stream": {
        // `contentSchema` belongs to JSON Schema; the types of OpenAPI lack it.
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
        "The WebSocket of Kallichore's clients, with text frames of JSON. The client sends `ClientMessage`; the server sends Jupyter messages and its own events. One client at a time owns the channels: a new owner displaces the earlier one. On a Unix socket or a named pipe, the answer to a plain request is the path of the socket to connect to.",
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
            "`all`: also events that Kallichore does not define (`gap` and later ones), and `seq` in each of the server's own events. Default: these events have one member besides `kind`, as Kallichore's types expect",
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
      summary: "This document as an interactive page",
      description:
        "Works offline. Open it with `?token=`: the page removes the token from the address and sends it with each request.",
      security: inHeaderOrQuery,
      responses: {
        200: {
          description: "An HTML page that loads no other file",
          headers: spanId,
          content: { "text/html": { schema: { type: "string" } } },
        },
        ...responses(["unauthorized", "forbidden", "internal"]),
      },
    },
  },
};
