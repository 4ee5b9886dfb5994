/**
 * The peer cannot be used, now or later: a new attempt would fail in the same
 * way. A refused or lost connection is not a `BadPeer`; it is tried again.
 */
export class BadPeer extends Error {
  override readonly name = "BadPeer";
  /**
   * `revision`: the peer uses ZMTP 1 or 2. `mechanism`: it requires another
   * security mechanism than NULL. `socket_type`: its socket type does not match
   * ours. `refused`: it sent an ERROR command. `protocol`: its bytes are not ZMTP.
   */
  readonly why:
    "revision" | "mechanism" | "socket_type" | "refused" | "protocol";

  constructor(why: BadPeer["why"], message: string) {
    super(message);
    this.why = why;
  }
}
