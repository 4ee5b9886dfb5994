/** A program in a control group of its own: it makes a group for a child, and prints what became of both. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import {
  controlGroup,
  whyNoControlGroup,
} from "../../src/host/control-group.ts";

const [, , mount = "", file = "", value = ""] = process.argv;
const settings = { [file]: value };
const child = spawn("sleep", ["1000"]);
const ended = once(child, "exit");
const group = controlGroup(settings);
group.add(child.pid ?? 0);
const [, own = ""] =
  /^0::(.*)$/m.exec(readFileSync(`/proc/${child.pid}/cgroup`, "utf8")) ?? [];
const path = `${mount}${own}`;
const limit = readFileSync(`${path}/${file}`, "utf8").trim();
group[Symbol.dispose]();
const [, signal] = (await ended) as [number | null, string | null];
for (let tries = 100; existsSync(path) && tries > 0; tries -= 1)
  await delay(20);
const unknown = whyNoControlGroup({ "nothing.max": "1" });
console.log(
  JSON.stringify({ own, limit, signal, isThere: existsSync(path), unknown }),
);
