/** In place of `src/jupyter/json-check.ts`: whatever is UTF-8 passes, as before frames were checked. For the comparison only. */
import { isUtf8 } from "node:buffer";

export function verdictOn(bytes: Uint8Array): "json" | "not_utf8" {
  return isUtf8(bytes) ? "json" : "not_utf8";
}
