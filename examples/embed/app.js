/** An Express application and a Kallichore server below `/kernels`, on one port. */
import { once } from "node:events";
import { createServer } from "node:http";
import express from "express";
import { embedServer } from "kallichore";

/** @param {import("kallichore").EmbedOptions & { port?: number }} options */
export async function openApp({ port = 0, ...options }) {
  const kernels = await embedServer(options);
  const app = express();
  app.get("/", (_req, res) => {
    res.send(`<p>${kernels.supervisor.sessions.length} sessions</p>`);
  });
  app.use(kernels.handle); // before express.json(), which would read the bodies
  app.use(express.json());
  app.post("/echo", (req, res) => void res.json(req.body));

  const http = createServer(app);
  http.on("upgrade", kernels.upgrade);
  http.listen(port, "127.0.0.1");
  await once(http, "listening");
  return {
    kernels,
    url: `http://127.0.0.1:${http.address().port}`,
    /** Ends the kernels first, so that clients get their last events, and then closes the port. */
    async [Symbol.asyncDispose]() {
      await kernels[Symbol.asyncDispose]();
      const closed = once(http, "close");
      http.close();
      http.closeIdleConnections();
      await closed;
    },
  };
}
