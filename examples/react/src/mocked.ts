/** The mocked server of the tests and of the page. */
import {
  display,
  error,
  input,
  mockKernel,
  result,
  stream,
  wait,
} from "kallichore/testing";
import { handlers } from "kallichore/testing/msw";

const baseUrl = "http://localhost:8888";
const token = "secret";
export const mockedUrl = `${baseUrl}?token=${token}`;

export const mocked = handlers({
  baseUrl,
  token,
  kernels: {
    python3: mockKernel({
      language: "python",
      on: [
        ["count()", [1, 2, 3].map((i) => stream(`${i}\n`))],
        [
          "count(20)",
          async function* () {
            for (let i = 1; i <= 20; i += 1) {
              yield stream(`${i}\n`);
              yield wait(5);
            }
          },
        ],
        [
          "talk()",
          async function* ({ input }) {
            yield stream("one\n");
            yield stream(`${await input("And? ")}\n`);
            yield stream("three\n");
          },
        ],
        ['input("Name? ")', input("Name? ", (name) => result(`'${name}'`))],
        [
          "1 / 0",
          error("ZeroDivisionError", "division by zero", [
            "Traceback (most recent call last):",
            "ZeroDivisionError: division by zero",
          ]),
        ],
        ["warn()", [stream("careful\n", "stderr"), display("a figure")]],
        ["work()", [stream("working\n"), wait(3_600_000)]],
      ],
    }),
  },
});
