/** Where a server is said to be, and what opens there. */
/** One of three: an address, a Unix socket or Windows pipe, or the file that the server wrote about itself. */
export type Where =
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

/** What we use of a WebSocket, whoever makes it. */
export interface RawSocket {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** Where the implementation can end without a farewell. */
  terminate?(): void;
}
