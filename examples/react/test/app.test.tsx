import {
  cleanup,
  configure,
  fireEvent,
  render,
  screen,
} from "@testing-library/react";
import { failure } from "kallichore/testing/msw";
import { http, HttpResponse, ws } from "msw";
import { setupServer } from "msw/node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { App } from "../src/app.tsx";
import { mocked, mockedUrl } from "../src/mocked.ts";

configure({ asyncUtilTimeout: 10_000 });

const server = setupServer(...mocked);
beforeAll(() => server.listen({ onUnhandledRequest: "error" }));
afterEach(async () => {
  cleanup(); // unmounts the page, which ends its session
  mocked.fault();
  server.resetHandlers();
  await expect.poll(() => mocked.server.supervisor.sessions.length).toBe(0);
});
afterAll(async () => {
  await mocked[Symbol.asyncDispose]();
  server.close();
});

const output = () => screen.getByRole("log").textContent;

/** All texts that an element has from now on. */
function texts(element: HTMLElement): readonly string[] {
  const seen = [element.textContent ?? ""];
  const observer = new MutationObserver(() =>
    seen.push(element.textContent ?? ""),
  );
  const everything = { childList: true, characterData: true, subtree: true };
  observer.observe(element, everything);
  return seen;
}

async function run(code: string): Promise<void> {
  render(<App url={mockedUrl} />);
  fireEvent.change(await screen.findByLabelText("code"), {
    target: { value: code },
  });
  fireEvent.click(screen.getByText("Run"));
}

const ended = () =>
  expect
    .poll(() => screen.getByRole("log").getAttribute("aria-busy"))
    .toBe("false");

async function answer(prompt: string, text: string): Promise<void> {
  const field = await screen.findByLabelText(prompt);
  fireEvent.change(field, { target: { value: text } });
  fireEvent.submit(field);
}

test("shows the output in order while the code runs", async () => {
  await run("talk()");
  await screen.findByLabelText("And?"); // the code still runs
  expect(output()).toBe("one\n");
  await answer("And?", "two");
  await ended();
  expect(output()).toBe("one\ntwo\nthree\n");
});

test("distinguishes stdout, stderr and displays", async () => {
  await run("warn()");
  expect((await screen.findByText("careful")).className).toBe("stderr");
  await screen.findByText("a figure");
});

test("shows an input request, and sends the answer", async () => {
  await run('input("Name? ")');
  await answer("Name?", "Ada");
  await screen.findByText("'Ada'");
  await ended();
  expect(screen.queryByLabelText("Name?")).toBeNull();
});

test("shows the traceback of an error, and runs the next code", async () => {
  await run("1 / 0");
  await screen.findByText(/ZeroDivisionError: division by zero/);
  await ended();
  fireEvent.change(screen.getByLabelText("code"), {
    target: { value: "count()" },
  });
  fireEvent.click(screen.getByText("Run"));
  await expect.poll(output).toBe("1\n2\n3\n");
});

test("interrupts endless code", async () => {
  await run("work()");
  await screen.findByText("working");
  fireEvent.click(screen.getByText("Interrupt"));
  await screen.findByText(/KeyboardInterrupt/);
  await ended();
});

test("loses no output when the connection breaks while code runs", async () => {
  mocked.fault({ dropAfter: 9 }); // each connection breaks after nine messages
  let connections = 0;
  const sockets = ws.link("ws://localhost:8888/*");
  server.use(sockets.addEventListener("connection", () => (connections += 1)));
  await run("count(20)");
  const numbers = Array.from({ length: 20 }, (_, i) => `${i + 1}\n`).join("");
  await expect.poll(output).toBe(numbers);
  await ended();
  expect(connections).toBeGreaterThan(2);
});

test("waits for a server that cannot be reached for a while", async () => {
  mocked.fault({ dropAfter: 0 });
  await run("count()");
  const states = texts(screen.getByLabelText("connection"));
  await expect.poll(() => states).toContain("waiting");
  expect(output()).toBe("");
  mocked.fault();
  await expect.poll(output).toBe("1\n2\n3\n");
});

test("shows why no kernel started", async () => {
  server.use(
    http.post("*/trpc/sessions.start", () => {
      const { status, body } = failure("start_failed", {
        session_id: "a",
        why: "no luck today",
      });
      return HttpResponse.json(
        { error: { message: "", code: -32603, data: { failure: body } } },
        { status },
      );
    }),
  );
  render(<App url={mockedUrl} />);
  expect((await screen.findByRole("alert")).textContent).toContain(
    "no luck today",
  );
});

test("shows that the token is wrong", async () => {
  render(<App url={mockedUrl.replace("secret", "wrong")} />);
  expect((await screen.findByRole("alert")).textContent).toContain("token");
});
