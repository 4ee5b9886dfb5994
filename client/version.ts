/** The version of this package, which the client sends to the server. Browsers have no `package.json` to read it from. */
export const VERSION = "0.1.0";
