/** Replaces `host.ts` in bundles for browsers, which lack its features. */
import type * as Host from "./host.ts";

export const needsOurSocket: typeof Host.needsOurSocket = () => false;
export const openWebSocket: typeof Host.openWebSocket = absent;
export const socketFetch: typeof Host.socketFetch = absent;
export const readConnectionFile: typeof Host.readConnectionFile = absent;

/** Browsers give no reason. */
export const connectionFault: typeof Host.connectionFault = () =>
  Promise.resolve(undefined);

function absent(): never {
  throw new Error("This needs Node: it is not available in a page");
}
