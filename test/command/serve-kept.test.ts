/** `kallichore serve --keep` as a process: what clients find when it was killed, or replaced. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { newSession } from "../conformance/harness/session.ts";
import { eventually, framesOf, TOKEN } from "../harness.ts";
import { needsPosix } from "../needs.ts";
import { ServerProcess } from "../stress/server-process.ts";
import { Room, useCommand } from "./kallichore.ts";

useCommand();

test(
  "a client of Jupyter's protocol that connects again gets the reply to its request",
  needsPosix,
  async () => {
    await using room = new Room();
    const args = ["--keep", "--state-dir", join(room.folder, "state")];
    let server = await ServerProcess.in(room, args);
    const { port } = new URL(server.url);
    const session_id = await started(server);
    const gate = join(room.folder, "gate");
    const msg_id = randomUUID();
    const first = await jupyter(server, session_id, "lab");
    first.socket.send(
      JSON.stringify({
        channel: "shell",
        header: { msg_id, msg_type: "execute_request", session: "lab" },
        parent_header: {},
        metadata: {},
        content: { code: `print before\nwait ${gate}\nprint after` },
      }),
    );
    await first.until("before\n");

    server.signal("SIGKILL");
    await server.running.ended();
    server = await ServerProcess.in(room, [...args, "--port", port]);
    const again = await jupyter(server, session_id, "lab");
    const stranger = await jupyter(server, session_id, "another");
    writeFileSync(gate, "");
    await again.until("after\n");
    await eventually("the reply", () =>
      again.replies().includes(msg_id) ? true : undefined,
    );
    await stranger.until("after\n");
    expect(stranger.replies()).toEqual([]);
    await server.ask("POST", "/shutdown");
    expect(await server.running.ended()).toMatchObject({ code: 0 });
    await again.closed;
    await stranger.closed;
  },
);

/** A session with the kernel of the conformance kit, which does what its code says. */
async function started(server: ServerProcess): Promise<string> {
  const wanted = newSession();
  const session_id = String(wanted["session_id"]);
  for (const [method, path, body] of [
    ["PUT", "/sessions", wanted],
    ["POST", `/sessions/${session_id}/start`, undefined],
  ] as const) {
    const answer = await server.ask(method, path, body);
    expect(answer.status).toBe(200);
  }
  return session_id;
}

async function jupyter(
  { url }: ServerProcess,
  kernel_id: string,
  client: string,
) {
  const address = `${url.replace("http", "ws")}/api/kernels/${kernel_id}/channels?session_id=${client}&token=${TOKEN}`;
  const socket = new WebSocket(address);
  const frames = framesOf(socket);
  const closed = once(socket, "close");
  await once(socket, "open");
  const text = () =>
    frames.map(({ content }) => (content as { text?: string }).text ?? "");
  return {
    socket,
    closed,
    until: (wanted: string) =>
      eventually(wanted, () => (text().includes(wanted) ? true : undefined)),
    replies: () =>
      frames
        .filter(({ channel }) => channel === "shell")
        .map(({ parent_header: parent }) => (parent as Header).msg_id),
  };
}

interface Header {
  readonly msg_id: string;
}
