/** `--import` this, and the server does not check what kernels send. */
import { register } from "node:module";

const place = JSON.stringify(new URL("unchecked.ts", import.meta.url).href);
const hook = `export const resolve = (name, context, next) =>
  next(name.endsWith("/json-check.ts") ? ${place} : name, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
