/** Mock kernels that the tests start as processes. */
import {
  answerLate,
  broken,
  display,
  error,
  exit,
  flood,
  hang,
  input,
  mockKernel,
  print,
  result,
  stopHeartbeat,
  stream,
} from "../../testing/index.ts";

export default mockKernel({
  language: "python",
  complete: ["print"],
  on: {
    hi: stream("hi\n"),
    sum: result("5"),
    ask: input("Name? ", (name) => stream(`Hello ${name}`)),
    fail: error("ValueError", "no"),
    show: display({ "text/plain": "x" }, { buffers: [new Uint8Array([1, 2])] }),
    sleep: hang(),
    die: [stream("last words"), exit(7)],
    kill: exit({ signal: "SIGKILL" }),
    print: print("raw\n"),
    flood: flood({ count: 1_000 }),
    faint: stopHeartbeat(),
    late: answerLate(50),
    broken: [broken("frames"), broken("signature"), stream("after")],
  },
});

export const registering = mockKernel({
  registers: "spec",
  on: { hi: stream("hi\n") },
});

export const positron = mockKernel({
  registers: "posit",
  on: { hi: stream("hi\n") },
});

export const stillborn = mockKernel({
  faults: { exitsAtStart: { exit_code: 3, output: "no module named x" } },
});
