/**
 * The page. With `VITE_KALLICHORE_URL=http://127.0.0.1:8888?token=… npm run dev` it
 * uses that server; otherwise it uses a mocked server inside the page.
 */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";

let url = import.meta.env.VITE_KALLICHORE_URL;
if (url === undefined) {
  const { mocked, mockedUrl } = await import("./mocked.ts");
  const { setupWorker } = await import("msw/browser");
  await setupWorker(...mocked).start({ onUnhandledRequest: "bypass" });
  Object.assign(window, { mocked }); // to try faults from the console: mocked.fault({ dropAfter: 0 })
  url = mockedUrl;
}

const root = document.getElementById("root");
if (root === null) throw new Error("The page has no #root");
createRoot(root).render(
  <StrictMode>
    <App url={url} />
  </StrictMode>,
);
