/** What the document says besides the contract: how to come in, and what the groups are. */
import type { oas31 } from "zod-openapi";

export const description = `\
Starts, watches and connects Jupyter kernels. A session is the durable thing a
client names; behind it runs a kernel; what the kernel says is kept, in order,
in the session's journal, and every client reads it from a place of its own.

The same operations are asked over tRPC at \`/trpc\`, by the name in
\`x-trpc-procedure\`. The paths, bodies and codes are compatible with Kallichore.

A success that has nothing to say has the body \`null\`. A failure has the body
\`Error\`, or \`StartupError\` where a kernel was to be started: switch on
\`reason\`, show \`message\`.`;

export const tags: oas31.TagObject[] = [
  {
    name: "sessions",
    description: "Kernels: made, started, asked, heard, ended",
  },
  { name: "kernelspecs", description: "What can be started here" },
  { name: "server", description: "The supervisor itself" },
  {
    name: "jupyter",
    description:
      "The same sessions for clients of Jupyter Server, which calls a session a kernel",
  },
  { name: "documentation", description: "This document, and its page" },
];

export const securitySchemes: Record<string, oas31.SecuritySchemeObject> = {
  token: {
    type: "http",
    scheme: "bearer",
    description: "The server's token, which it prints when it starts",
  },
  query_token: {
    type: "apiKey",
    in: "query",
    name: "token",
    description:
      "The same, for what cannot send a header: a browser's WebSocket, EventSource and address bar",
  },
};

/** For what a browser asks without being able to send a header. */
export const inHeaderOrQuery: oas31.SecurityRequirementObject[] = [
  { token: [] },
  { query_token: [] },
];

export const headers: Record<string, oas31.HeaderObject> = {
  "x-span-id": {
    description:
      "The request's own `X-Span-ID`, else a new one; the server's log has it too",
    required: true,
    schema: { type: "string" },
  },
};

/** What the page fills in. */
export const parameterExamples: Readonly<Record<string, string>> = {
  session_id: "a",
  name: "python3",
};
