/**
 * The servers in which a liar runs: with either ZeroMQ driver, embedded in
 * another program, and with mocked kernels. In each, a correct session runs
 * beside it.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished } from "vitest";
import { FramesRefused } from "../../src/jupyter/admission.ts";
import { FrameReader, Signer } from "../../src/jupyter/frames.ts";
import type { Channel } from "../../src/jupyter/message.ts";
import { embedServer } from "../../src/index.ts";
import type { Hooks, Recipe } from "../../src/kernel/kernel.ts";
import type { ServerOptions } from "../../src/serve.ts";
import { hang, mockKernel } from "../../testing/index.ts";
import { kernelspecsOf } from "../../testing/memory-service.ts";
import { MockProvisioner } from "../../testing/provisioner.ts";
import {
  type Answer,
  ask,
  openServer,
  temporaryFolder,
  TOKEN,
  ownWords,
} from "../harness.ts";
import { type RecordedLine, recordingLog } from "../recording-log.ts";
import { echo } from "../kernels/echo-script.ts";
import { installKernelspecs } from "../kernels/index.ts";
import { framesOf, KEY, type Lie, Liar } from "./liar.ts";

export interface Speaker {
  readonly session_id: string;
  say(channel: Channel, lie: Lie): Promise<void>;
  sayFrames(channel: Channel, frames: readonly Uint8Array[]): Promise<void>;
}

export interface Room {
  readonly url: string;
  /** The log lines of the server. */
  readonly lines: readonly RecordedLine[];
  ask(method: string, path: string, body?: unknown): Promise<Answer>;
  /** A session whose kernel is a liar that answers its start correctly. */
  speaker(session_id: string): Promise<Speaker>;
}

/** `adopts`: its kernels have sockets and can be adopted. */
export const rooms: readonly {
  readonly name: string;
  readonly adopts: boolean;
  readonly open: () => Promise<Room>;
}[] = [
  ...(["zmtp", "libzmq"] as const).map((transport) => ({
    name: `a server with ${transport}`,
    adopts: true,
    open: () => served({ transport }),
  })),
  { name: "a server inside another's program", adopts: true, open: embedded },
  { name: "mocked kernels", adopts: false, open: mocked },
];

async function served(options: ServerOptions): Promise<Room> {
  const { log, lines } = recordingLog();
  const server = await openServer({ ...options, log });
  onTestFinished(() => server[Symbol.asyncDispose]());
  return adopting(roomAt(server.url, lines));
}

async function embedded(): Promise<Room> {
  const kernelspecs = temporaryFolder();
  installKernelspecs(kernelspecs, ["echo"]);
  const { log, lines } = recordingLog();
  const server = await embedServer({
    log,
    path: "/kernels",
    token: TOKEN,
    kernelspecDirs: [kernelspecs],
    runtimeDirectory: temporaryFolder(),
  });
  const http = createServer((req, res) => server.handle(req, res));
  http.on("upgrade", server.upgrade);
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  onTestFinished(async () => {
    await server[Symbol.asyncDispose]();
    http.close();
    http.closeAllConnections();
  });
  const { port } = http.address() as AddressInfo;
  return adopting(roomAt(`http://127.0.0.1:${port}`, lines, "/kernels"));
}

function adopting(room: Omit<Room, "speaker">): Room {
  return {
    ...room,
    async speaker(session_id) {
      const liar = await Liar.open();
      onTestFinished(() => liar[Symbol.asyncDispose]());
      await toBeAdopted(room, session_id);
      const path = `/sessions/${session_id}/adopt`;
      const adopted = await room.ask("PUT", path, liar.connection);
      expect(adopted.text).toContain('"liar"');
      return {
        session_id,
        say: (channel, lie) => liar.send(channel, lie),
        sayFrames: (channel, frames) => liar.sayFrames(channel, frames),
      };
    },
  };
}

/** The tests can send messages of its kernels too, on the same way as the kernels' own. */
class TalkativeProvisioner extends MockProvisioner {
  readonly hooks = new Map<string, Hooks>();

  override launch(recipe: Recipe, hooks: Hooks, signal: AbortSignal) {
    this.hooks.set(recipe.session_id, hooks);
    return super.launch(recipe, hooks, signal);
  }
}

async function mocked(): Promise<Room> {
  const kernels = { echo, liar: mockKernel({ otherwise: hang() }) };
  const provisioner = new TalkativeProvisioner(kernels);
  const { log, lines } = recordingLog();
  const server = await openServer({
    log,
    provisioner,
    kernelspecs: kernelspecsOf(kernels, process.execPath),
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const room = roomAt(server.url, lines);
  const say = (id: string, channel: Channel, frames: readonly Uint8Array[]) => {
    try {
      const reader = new FrameReader(new Signer(KEY));
      const message = reader.read(frames, channel);
      provisioner.hooks.get(id)?.message(message);
    } catch (error) {
      // Frames that are not a message are also dropped behind a socket.
      if (error instanceof FramesRefused && error.refusal !== undefined) {
        provisioner.hooks.get(id)?.refused(error.refusal);
      }
    }
    return Promise.resolve();
  };
  return {
    ...room,
    async speaker(session_id) {
      await server.start("liar", session_id);
      return {
        session_id,
        say: (channel, lie) => say(session_id, channel, framesOf(lie)),
        sayFrames: (channel, frames) => say(session_id, channel, frames),
      };
    },
  };
}

function roomAt(
  url: string,
  lines: readonly RecordedLine[],
  under = "",
): Omit<Room, "speaker"> {
  return {
    lines,
    url: `${url}${under}`,
    ask: (method, path, body) =>
      ask(
        { url },
        {
          method,
          path: `${under}${path}`,
          body,
          headers: {
            authorization: `Bearer ${TOKEN}`,
            "content-type": "application/json",
          },
        },
      ),
  };
}

/** Makes a session without a kernel for an adoption, with a timeout of two seconds. */
export async function toBeAdopted(
  room: Pick<Room, "ask">,
  session_id: string,
): Promise<void> {
  const created = await room.ask("PUT", "/sessions", {
    session_id,
    argv: [],
    ...ownWords,
    interrupt_mode: "message",
    connection_timeout: 3,
  });
  expect([created.status, created.text]).toEqual([200, expect.any(String)]);
}

/** The correct session beside: its round trip, its outputs and its description must stay unchanged. */
export class Beside {
  readonly #room: Room;
  #count = 0;

  static async in(room: Room): Promise<Beside> {
    const created = await room.ask("PUT", "/sessions", {
      session_id: "beside",
      kernel_name: "echo",
    });
    expect(created.text).toContain("beside");
    const started = await room.ask("POST", "/sessions/beside/start");
    expect([started.status, started.text]).toEqual([200, expect.any(String)]);
    return new Beside(room);
  }

  private constructor(room: Room) {
    this.#room = room;
  }

  async isUnhurt(): Promise<void> {
    this.#count += 1;
    const code = `hello ${this.#count}`;
    const path = "/sessions/beside/execute";
    const executed = await this.#room.ask("POST", path, { code });
    expect(executed.text).toContain(code);
    expect(executed.body).toMatchObject({ status: "ok" });
    const listed = await this.#room.ask("GET", "/sessions");
    expect(listed.status).toBe(200);
    const { sessions } = listed.body as {
      sessions: readonly { session_id: string; status: string }[];
    };
    const beside = sessions.find(({ session_id }) => session_id === "beside");
    expect(beside).toMatchObject({ session_id: "beside" });
    expect(["idle", "busy", "ready"]).toContain(beside?.status);
  }
}
