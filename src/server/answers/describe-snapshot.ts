/** The present state of a session, for a reader that connects late. */
import type { contract, InputOf } from "../../../contract/index.ts";
import type { Dropped } from "../../session/bounded-map.ts";
import { shownBy } from "../../session/displays.ts";
import type { Session } from "../../session/session.ts";
import { describeQueue } from "./describe.ts";
import { describeExecution, toJupyterEvent } from "./describe-execution.ts";

type Description = InputOf<typeof contract.sessions.snapshot.output>;

/** All parts are of the same moment. */
export function describeSnapshot(session: Session): Description {
  const { displays, comms, executions } = session;
  const { running } = executions;
  const waitingForInput = running.find(({ input }) => input !== undefined);
  // An execution that waits for input has priority, because a person must answer it; then that of the main shell, then that of a subshell.
  const shown =
    waitingForInput ??
    executions.find(session.queue.active?.header.msg_id) ??
    running[0];
  return {
    seq: session.journal.last,
    journal_id: session.journal.id,
    status: session.status,
    kernel_info: { ...session.info },
    working_directory: session.workingDirectory,
    execution: shown === undefined ? null : describeExecution(session, shown),
    input_request:
      waitingForInput?.input === undefined
        ? null
        : toJupyterEvent(waitingForInput.input),
    queue: describeQueue(session),
    displays: Object.fromEntries(
      [...displays.entries()].map(([id, entry]) => [id, shownBy(entry)]),
    ),
    displays_dropped: displays.dropped.count,
    displays_clipped: clippedOf(displays.dropped),
    comms: [...comms.entries()].map(
      ([comm_id, { target_name, data, metadata, buffers }]) => ({
        comm_id,
        target_name,
        data,
        metadata: { ...metadata },
        buffers: buffers.map((buffer) => buffer.toString("base64")),
      }),
    ),
    comms_dropped: comms.dropped.count,
    comms_clipped: clippedOf(comms.dropped),
  };
}

function clippedOf({ count, ...bytes }: Dropped) {
  return count === 0 ? null : bytes;
}
