/**
 * A process that wants the lock of a directory again and again, against others. It
 * prints how often it had the lock, and how often another process had it too. Now
 * and then it leaves the lock of a process that has ended, as a process that is killed
 * does.
 *
 *     node contender.js <directory> <milliseconds> <pid of an ended process>
 */
import {
  closeSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { currentOwner } from "../../src/host/owner.ts";
import { lockState } from "../../src/state/state.ts";

const [, , directory = "", time = "0", ended = "0"] = process.argv;
const holder = join(directory, "holder");
const refusals = new Set<string>();
let [won, shared] = [0, 0];

for (const end = Date.now() + Number(time); Date.now() < end;) {
  let unlock: () => void;
  try {
    unlock = lockState(directory);
  } catch (error) {
    refusals.add((error as Error).message.replace(/\d+/g, "#"));
    continue;
  }
  won += 1;
  try {
    closeSync(openSync(holder, "wx")); // fails if another process has the lock
    rmSync(holder);
  } catch {
    shared += 1;
  }
  if (won % 3 === 0) leaveBehind();
  else unlock();
}
console.log(JSON.stringify({ won, shared, refusals: [...refusals] }));

/** The lock is now that of a process that has ended. */
function leaveBehind(): void {
  const mine = join(directory, `dead.${process.pid}`);
  writeFileSync(
    mine,
    JSON.stringify({ ...currentOwner(), pid: Number(ended) }),
  );
  renameSync(mine, join(directory, "lock"));
}
