/** The program of `npm start`. Ctrl+C ends it and all its kernels. */
import { openApp } from "./app.js";

const port = Number(process.env.PORT ?? 3000);
const app = await openApp({ path: "/kernels", port });
console.log(`${app.url}/ is the application`);
console.log(`${app.url}/kernels/docs#token=${app.kernels.token} the kernels`);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await app[Symbol.asyncDispose]();
    console.log("No kernel is left");
  });
}
