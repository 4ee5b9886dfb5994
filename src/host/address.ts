/** The addresses that a kernel binds, and their reservation. */

export interface KernelPorts {
  readonly control_port: number;
  readonly shell_port: number;
  readonly stdin_port: number;
  readonly hb_port: number;
  readonly iopub_port: number;
}

/** The address that a kernel is told to bind. */
export interface KernelAddress extends KernelPorts {
  readonly transport: "tcp" | "ipc";
  /** For Unix sockets, the common prefix of their paths. */
  readonly ip: string;
}

/** Ports or socket names that are reserved for one kernel until the reservation is disposed of. Dispose of it when the kernel has ended; a second call does nothing. */
export interface Reservation extends Disposable {
  readonly address: KernelAddress;
  /** Unix sockets only: resolves when all five exist under their standard names, or when `signal` aborts. Never rejects. */
  readonly bound?: (signal: AbortSignal) => Promise<void>;
}
