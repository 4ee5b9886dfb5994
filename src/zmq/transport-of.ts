/**
 * Which driver carries a link.
 *
 * Ours, unless the link has curve keys or the peer turns out too old for it:
 * those are libzmq's. A driver that is asked for by name gets all links.
 */
import { libzmq, libzmqForOldPeers } from "./libzmq.ts";
import { PeerQueue } from "./peer-queue.ts";
import type {
  Frames,
  KernelTransport,
  Link,
  LinkOptions,
  LinkState,
} from "./transport.ts";
import { BadPeer } from "./zmtp/bad-peer.ts";
import { zmtp } from "./zmtp.ts";

export const TRANSPORT_NAMES = ["auto", "zmtp", "libzmq"] as const;
export type TransportName = (typeof TRANSPORT_NAMES)[number];

export function transportOf(name: TransportName = "auto"): KernelTransport {
  switch (name) {
    case "auto":
      return either(zmtp, libzmq, libzmqForOldPeers);
    case "zmtp":
      return zmtp;
    case "libzmq":
      return libzmq;
  }
}

/** The first driver where it can, else one for encrypted links or one for old peers. */
export function either(
  first: KernelTransport,
  encrypted: KernelTransport,
  old: KernelTransport = encrypted,
): KernelTransport {
  return {
    name: "auto",
    connect: (options: LinkOptions): Link =>
      options.curve === undefined
        ? new EitherLink(options, first, old)
        : encrypted.connect(options),
  };
}

/** A link of the first driver until it knows its peer: then it stays, or the second begins anew with all that waited. */
class EitherLink implements Link {
  #link: Link;
  /** What was sent before the peer was known; `undefined` from then on. */
  #kept: PeerQueue | undefined = new PeerQueue();

  constructor(
    options: LinkOptions,
    first: KernelTransport,
    second: KernelTransport,
  ) {
    const onState = (state: LinkState, error?: Error): void => {
      const kept = this.#kept;
      this.#kept = undefined; // the first change of state tells who the peer is
      if (kept !== undefined && isOld(error)) {
        this.#link = second.connect(options);
        for (let next = kept.shift(); next !== undefined; next = kept.shift()) {
          this.#link.send(next);
        }
        return;
      }
      options.onState?.(state, error);
    };
    this.#link = first.connect({ ...options, onState });
  }

  get waiting(): number {
    return this.#link.waiting;
  }

  send(frames: Frames): void {
    this.#link.send(frames);
    this.#kept?.push(frames);
  }

  close(): void {
    this.#link.close();
  }
}

function isOld(error: Error | undefined): boolean {
  return error instanceof BadPeer && error.why === "revision";
}
