/** What a page has in the place of `host.ts`: nothing but what its browser has. */
import type * as Host from "./host.ts";

export const needsOurSocket: typeof Host.needsOurSocket = () => false;
export const openWebSocket: typeof Host.openWebSocket = absent;
export const socketFetch: typeof Host.socketFetch = absent;
export const readConnectionFile: typeof Host.readConnectionFile = absent;

/** Browsers do not say. */
export const connectionFault: typeof Host.connectionFault = () =>
  Promise.resolve(undefined);

function absent(): never {
  throw new Error("This needs Node: it is not to be had in a page");
}
