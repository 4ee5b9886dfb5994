/** The version of this package, for servers to know. Browsers have no `package.json` to read it from. */
export const VERSION = "0.1.0";
