/** States that are moved as one file: with real files, keepers and kernels. */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { keeperFileIn, movedFile } from "../../src/keeper/keeper-file.ts";
import { writePrivate } from "../../src/host/private-file.ts";
import { exportState } from "../../src/state/export.ts";
import { importState } from "../../src/state/import.ts";
import { eventually, temporaryFolder, TOKEN } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { randomFrom } from "../stress/proxy.ts";
import { KeptPlace } from "./kept-place.ts";

const SECRET = "a-value-that-nobody-may-see";
const ENV = [{ action: "replace", name: "SECRET", value: SECRET }];

function exported(
  place: KeptPlace,
  {
    file = join(place.folder, "archive"),
    withToken = false,
    withEnv = false,
  } = {},
): Promise<unknown> {
  const { root, name } = place;
  const version = "1.2.3";
  return exportState({ root, name, file, version, withToken, withEnv });
}

function imported(place: KeptPlace, file: string): Promise<unknown> {
  const { root, name } = place;
  return importState({
    root,
    name,
    file,
    complete: (draft) => writePrivate(keeperFileIn(draft), movedFile("box")),
  });
}

const textOf = (file: string) => gunzipSync(readFileSync(file)).toString();

/** A small archive of one session, and the place that it comes from. */
async function smallArchive(): Promise<{ place: KeptPlace; file: string }> {
  const place = new KeptPlace();
  const server = await place.serve();
  await server.start("a");
  await server.execute("a", "hello");
  await server.end("a");
  await server.letGo();
  await exported(place);
  return { place, file: join(place.folder, "archive") };
}

describe("a state in one file", needsPosix, () => {
  test("has all sessions on another machine: their journals, the numbers of their entries, and the reason why they have no kernels", async () => {
    const place = new KeptPlace();
    const first = await place.serve({ keepEnv: true });
    await first.start("running", "echo", { env: ENV });
    await first.start("ended");
    await first.start("busy");
    for (const id of ["running", "ended"])
      await first.execute(id, `I am ${id}`);
    await first.end("ended");
    await first.send("busy", "sleep 1000000");
    await first.letGo();
    const file = join(place.folder, "archive");
    expect(await exported(place)).toMatchObject({ sessions: 3 });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { lock, ...kept } = Object.fromEntries(
      readdirSync(place.state).map((name) => [name, true]),
    );
    expect(lock).toBeUndefined();
    expect(kept).toHaveProperty("sessions"); // the state stays

    const other = new KeptPlace();
    await imported(other, file);
    const again = await place.serve({ keepEnv: true }); // for what it had
    const next = await other.serve();
    const reason =
      "its session was moved here from box, and the kernel was not";
    for (const id of ["running", "busy"]) {
      const session = next.server.supervisor.session(id);
      await eventually("the end", () => session.endedAt);
      expect(session.statusReason).toBe(reason);
    }
    for (const id of ["running", "ended", "busy"]) {
      const before = await again.journal(id);
      const { journal } = again.server.supervisor.session(id);
      const { journal: now } = next.server.supervisor.session(id);
      expect(now.id).toBe(journal.id);
      const moved = await next.journal(id);
      // After it was moved, each of the two states has entries of its own.
      const end = before.findIndex((text) => text.includes('"restoring"'));
      const common = end === -1 ? before.length : end;
      expect(common).toBeGreaterThan(5);
      expect(moved.slice(0, common)).toEqual(before.slice(0, common));
      expect(now.last).toBe(moved.length);
    }
    expect((await next.describe("ended"))["history"]).toMatchObject([
      { input: "I am ended" },
    ]);
    // Code that ran is aborted, and the session works with a new kernel.
    await next.ask("POST", "/sessions/ended/start");
    await next.execute("ended", "here");
    expect((await next.journal("ended")).join("")).toContain("here");
    // The value was not in the file, so it must be given.
    const start = await next.ask("POST", "/sessions/running/start");
    expect(start.text).toContain("the values of SECRET were not kept");
  });

  test("holds the token and the values of variables only if they are asked for, and never the secret of the keeper", async () => {
    const place = new KeptPlace();
    const server = await place.serve({ keepEnv: true });
    await server.start("a", "echo", { env: ENV });
    const { keeper_secret, token } = JSON.parse(
      readFileSync(join(place.state, "server.json"), "utf8"),
    ) as Record<string, string>;
    expect(token).toBe(TOKEN);
    await server.letGo();
    const file = (name: string) => join(place.folder, name);
    await exported(place, { file: file("plain") });
    const all = { withToken: true, withEnv: true };
    await exported(place, { file: file("all"), ...all });
    const [plain, whole] = ["plain", "all"].map((name) => textOf(file(name)));
    for (const secret of [TOKEN, SECRET, keeper_secret]) {
      expect(plain).not.toContain(secret);
    }
    expect(whole).toContain(TOKEN);
    expect(whole).toContain(SECRET);
    expect(whole).not.toContain(keeper_secret);

    const other = new KeptPlace();
    await imported(other, file("all"));
    const next = await other.serve();
    await next.server.supervisor.session("a").restored;
    expect((await next.ask("POST", "/sessions/a/start")).status).toBe(200);
    // Without a token in the file, a new one is made.
    const third = new KeptPlace();
    await imported(third, file("plain"));
    const opened = JSON.parse(
      readFileSync(join(third.state, "server.json"), "utf8"),
    ) as object;
    expect(opened).not.toHaveProperty("token");
    expect(opened).not.toHaveProperty("keeper_secret");
  });

  test("of a state that is in use, or that is not there, is not written; and no file is overwritten", async () => {
    const place = new KeptPlace();
    const file = join(place.folder, "archive");
    await expect(exported(place)).rejects.toThrow("There is no state");
    const server = await place.serve();
    await expect(exported(place)).rejects.toThrow(
      `is used by the process with the id ${process.pid}`,
    );
    expect(existsSync(file)).toBe(false);
    await server.letGo();
    writeFileSync(file, "mine");
    await expect(exported(place)).rejects.toThrow(
      `The file ${file} exists already`,
    );
    expect(readFileSync(file, "utf8")).toBe("mine");
  });

  test("does not replace a state", async () => {
    const { place, file } = await smallArchive();
    const before = readdirSync(place.root);
    await expect(imported(place, file)).rejects.toThrow("exists");
    expect(readdirSync(place.root)).toEqual(before);
  });

  test("that was cut off or changed anywhere is refused, and leaves nothing", async () => {
    const { file } = await smallArchive();
    const bytes = readFileSync(file);
    const other = new KeptPlace();
    const broken = join(other.folder, "broken");
    const random = randomFrom(6);
    const at = () => Math.floor(random() * bytes.length);
    const refused = async (content: Uint8Array) => {
      writeFileSync(broken, content);
      await expect(imported(other, broken)).rejects.toThrow(
        /is broken|is no archive/,
      );
      expect(existsSync(other.root) ? readdirSync(other.root) : []).toEqual([]);
    };
    for (let count = 0; count < 40; count += 1) {
      await refused(bytes.subarray(0, at()));
      const changed = Buffer.from(bytes);
      // The first ten bytes hold a time and the name of a system, which say nothing.
      const where = Math.max(at(), 10);
      changed.writeUInt8((changed[where] ?? 0) ^ (1 + (count % 255)), where);
      await refused(changed);
    }
    // What gzip does not notice, the checksums do.
    const text = gunzipSync(bytes);
    for (let count = 0; count < 40; count += 1) {
      const changed = Buffer.from(text);
      const where = Math.floor(random() * text.length);
      changed.writeUInt8((changed[where] ?? 0) ^ (1 + (count % 255)), where);
      writeFileSync(broken, gzipSync(changed));
      await expect(imported(other, broken)).rejects.toThrow();
      expect(existsSync(other.root) ? readdirSync(other.root) : []).toEqual([]);
    }
  });

  test("of a later version is refused, with that version", async () => {
    const { file } = await smallArchive();
    const other = new KeptPlace();
    const later = join(other.folder, "later");
    for (const [before, after, why] of [
      [
        '"kallichore_state":1',
        '"kallichore_state":2',
        "its archive has format 2",
      ],
      ['"journal":1', '"journal":7', "its journal has format 7"],
      ['"session":1', '"comms":3,"session":1', "its comms has format 3"],
    ] as const) {
      const text = gunzipSync(readFileSync(file)).toString("latin1");
      writeFileSync(
        later,
        gzipSync(Buffer.from(text.replace(before, after), "latin1")),
      );
      await expect(imported(other, later)).rejects.toThrow(
        `was written by version 1.2.3: ${why}`,
      );
    }
    writeFileSync(later, "something else");
    await expect(imported(other, later)).rejects.toThrow("is broken");
    await expect(imported(other, join(other.folder, "none"))).rejects.toThrow(
      "ENOENT",
    );
  });

  /** An archive with one file of this path. */
  async function craftedArchive(path: string) {
    const folder = temporaryFolder();
    const file = join(folder, "archive");
    const { formats } = await import("../../src/state/archive-format.ts");
    const head = {
      ...{ kallichore_state: 1, version: "1.2.3", created: "", host: "box" },
      ...{ name: "default", formats, has_token: false, has_env: false },
      ...{ sessions: 0, files: 1, bytes: 4 },
    };
    const lines = [head, { path, bytes: 4 }].map((one) => JSON.stringify(one));
    const text = `${lines.join("\n")}\nevil\n`;
    const sha256 = createHash("sha256").update(text).digest("hex");
    const end = `${JSON.stringify({ sha256 })}\n{"end":true}\n`;
    writeFileSync(file, gzipSync(text + end));
    const root = join(folder, "states");
    mkdirSync(root);
    const load = () =>
      importState({ root, name: "new", file, complete: () => {} });
    return { folder, root, load };
  }

  test("writes files of sessions", async () => {
    const path = "sessions/0123456789abcdef0123456789abcdef/journal.0000000001";
    const { root, load } = await craftedArchive(path);
    await load();
    expect(readFileSync(join(root, "new", path), "utf8")).toBe("evil");
  });

  test.each([
    "../evil",
    "/tmp/evil",
    "sessions/../evil",
    "sessions/0123456789abcdef0123456789abcdef/../../evil",
    "sessions/0123456789abcdef0123456789abcdef/a/b",
    "sessions/0123456789abcdef0123456789abcdef/..",
    "sessions\\evil",
    "lock",
    "keeper.json",
    "sessions/0123456789ABCDEF0123456789ABCDEF/durable",
  ])("writes no file outside of sessions: %s", async (path) => {
    const { folder, root, load } = await craftedArchive(path);
    await expect(load()).rejects.toThrow("is broken: entry 1");
    expect(readdirSync(folder).sort()).toEqual(["archive", "states"]);
    expect(readdirSync(root)).toEqual([]);
  });
});
