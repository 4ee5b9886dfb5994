/**
 * The choice of the driver for a link.
 *
 * The zmtp driver carries a link unless the link has CURVE keys or the peer's
 * ZMTP is too old for it; libzmq carries those. If the caller names a driver,
 * that driver carries all links.
 */
import { libzmq, libzmqForOldPeers } from "./libzmq.ts";
import { PeerQueue } from "./peer-queue.ts";
import type {
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

/** The first driver if it can carry the link; else the driver for encrypted links or the driver for old peers. */
export function either(
  first: KernelTransport,
  encrypted: KernelTransport,
  old: KernelTransport = encrypted,
): KernelTransport {
  return {
    name: "auto",
    connect: (options: LinkOptions): Link =>
      options.curve === undefined
        ? eitherLink(options, first, old)
        : encrypted.connect(options),
  };
}

/** A link of the first driver until the peer's version is known. For an old peer, a link of the second driver then sends all messages that waited. */
function eitherLink(
  options: LinkOptions,
  first: KernelTransport,
  second: KernelTransport,
): Link {
  /** Messages sent before the peer's version was known; `undefined` from then on. */
  let unconfirmed: PeerQueue | undefined = new PeerQueue();
  const onState = (state: LinkState, error?: Error): void => {
    const waiting = unconfirmed;
    unconfirmed = undefined; // the first change of state reveals the peer's version
    if (waiting === undefined || !isOld(error)) {
      options.onState?.(state, error);
      return;
    }
    link = second.connect(options);
    for (
      let next = waiting.shift();
      next !== undefined;
      next = waiting.shift()
    ) {
      link.send(next);
    }
  };
  let link = first.connect({ ...options, onState });
  return {
    get waiting() {
      return link.waiting;
    },
    get isReceiving() {
      return link.isReceiving;
    },
    send(frames) {
      link.send(frames);
      unconfirmed?.push(frames);
    },
    close: () => link.close(),
  };
}

function isOld(error: Error | undefined): boolean {
  return error instanceof BadPeer && error.why === "revision";
}
