/** The texts of the document that the contract does not have: description, groups, authentication. */
import type { oas31 } from "zod-openapi";

export const description = `\
Starts, watches and connects Jupyter kernels. A client names a session, which is
durable and runs a kernel. The session's journal keeps the kernel's messages in
order, and each client reads them from its own position.

The same operations are available over tRPC at \`/trpc\`, by the name in
\`x-trpc-procedure\`. The paths, bodies and codes are compatible with Kallichore.

A success without a result has the body \`null\`. A failure has the body
\`Error\`, or \`StartupError\` if a kernel should have been started: switch on
\`reason\`, show \`message\`.`;

export const tags: oas31.TagObject[] = [
  {
    name: "sessions",
    description:
      "Sessions: create and start them, run code, read events, end them",
  },
  {
    name: "kernelspecs",
    description: "The kernels that this server can start",
  },
  { name: "server", description: "The supervisor itself" },
  {
    name: "jupyter",
    description:
      "The same sessions for clients of Jupyter Server, which calls a session a kernel",
  },
  {
    name: "documentation",
    description: "This document, as JSON and as a page",
  },
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
      "The same token, for clients that cannot send a header: a browser's WebSocket, EventSource and address bar",
  },
};

/** For requests of a browser that cannot send a header. */
export const inHeaderOrQuery: oas31.SecurityRequirementObject[] = [
  { token: [] },
  { query_token: [] },
];

export const headers: Record<string, oas31.HeaderObject> = {
  "x-span-id": {
    description:
      "The `X-Span-ID` of the request, else a new id; the server's log has it too",
    required: true,
    schema: { type: "string" },
  },
};

/** The values that the page fills in. */
export const parameterExamples: Readonly<Record<string, string>> = {
  session_id: "a",
  name: "python3",
};
