/** The location of a server: its address, or a Unix socket or Windows pipe. */
export type ServerLocation =
  | {
      readonly url: string | URL;
      readonly socketPath?: never;
      readonly basePath?: never;
    }
  | {
      readonly url?: never;
      readonly socketPath: string;
      /** The path under which the server answers, such as `/user/ann`. Default: `/`. */
      readonly basePath?: string | undefined;
    };
