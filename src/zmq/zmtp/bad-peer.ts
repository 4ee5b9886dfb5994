/**
 * Why a peer cannot be talked to, now or later: trying again would end the same.
 * A connection that is refused or lost is not this; it is tried again.
 */
export class BadPeer extends Error {
  override readonly name = "BadPeer";
  /**
   * `revision`: it speaks ZMTP 1 or 2. `mechanism`: it wants another security
   * mechanism than NULL. `socket_type`: it is no counterpart of ours.
   * `refused`: it said so itself. `protocol`: what it sent is no ZMTP.
   */
  readonly why:
    "revision" | "mechanism" | "socket_type" | "refused" | "protocol";

  constructor(why: BadPeer["why"], message: string) {
    super(message);
    this.why = why;
  }
}
