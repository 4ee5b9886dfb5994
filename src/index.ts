/** What a program embeds: the server, and how to open it. */
export { startServer, RunningServer, type ServerOptions } from "./serve.ts";
export type { Address } from "./server/listen.ts";
