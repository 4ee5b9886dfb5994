/** The order in which the sessions of an earlier server are restored. */
import { expect, test, vi } from "vitest";
import { restoreInTurn } from "../../src/supervisor/restoring.ts";

class Waiting {
  hasBegun = false;
  end: () => void = () => {};
  readonly restored = new Promise<void>((resolve) => (this.end = resolve));

  begin(): void {
    this.hasBegun = true;
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("sessions are restored four at a time, and one that takes long holds up no other", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const all = Array.from({ length: 6 }, () => new Waiting());
    const begun = () => all.map(({ hasBegun }) => (hasBegun ? 1 : 0)).join("");
    const done = restoreInTurn(all);
    expect(begun()).toBe("111100");
    all[1]?.end();
    await settled();
    await settled();
    expect(begun()).toBe("111110");
    await vi.advanceTimersByTimeAsync(499);
    await settled();
    expect(begun()).toBe("111110");
    await vi.advanceTimersByTimeAsync(2); // the others have not ended
    await settled();
    expect(begun()).toBe("111111");
    for (const each of all) each.end();
    await done;
  } finally {
    vi.useRealTimers();
  }
});
