/** Where a kernel is told to bind, and for how long that is its own. */

export interface KernelPorts {
  readonly control_port: number;
  readonly shell_port: number;
  readonly stdin_port: number;
  readonly hb_port: number;
  readonly iopub_port: number;
}

/** Where a kernel is to bind. */
export interface Address extends KernelPorts {
  readonly transport: "tcp" | "ipc";
  /** Of Unix sockets what their names begin with. */
  readonly ip: string;
}

/** Ports or names of sockets that are handed out to nobody else until they are let go. Dispose of it when the kernel is gone; twice is safe. */
export interface Reservation extends Disposable {
  readonly address: Address;
  /** Of Unix sockets: resolves once all five are there under their standard names, or when `signal` aborts. Never rejects. */
  readonly bound?: (signal: AbortSignal) => Promise<void>;
}
