/** What running code says, as a person or a program reads it. Each event is shown once there is room for it. */
import type { ExecutionEvent, MimeBundle } from "../../client/index.ts";
import {
  describePicture,
  pictureIn,
  type SavePicture,
  textIn,
} from "./pictures.ts";
import type { Terminal } from "./terminal.ts";

export type Show = (event: ExecutionEvent) => Promise<void>;

export interface ShowOptions {
  readonly savePicture?: SavePicture | undefined;
  /** Stands before a result, such as `Out[3]: `. */
  readonly label?: (count: number | null) => string;
}

/** Standard output to standard output, standard error to standard error, results as text. */
export function forPeople(
  terminal: Terminal,
  { savePicture, label = () => "" }: ShowOptions,
): Show {
  const { out, err } = terminal;
  const warn = (text: string) => err.line(`${err.colors.yellow("!")} ${text}`);

  async function display(data: MimeBundle, before: string): Promise<void> {
    const text = textIn(data, "text/plain");
    if (text !== undefined) await out.write(`${before}${text}\n`);
    const picture = pictureIn(data);
    if (picture !== undefined && savePicture !== undefined) {
      const path = await savePicture(picture);
      await err.line(err.colors.dim(`Saved ${path}`));
    } else if (picture !== undefined) {
      const what = describePicture(picture);
      await err.line(err.colors.dim(`(${what}; --save-to DIR keeps it)`));
    } else if (text === undefined) {
      const what = Object.keys(data).join(", ");
      await err.line(err.colors.dim(`(${what})`));
    }
  }

  return async (event) => {
    switch (event.type) {
      case "stream":
        await (event.name === "stdout" ? out : err).write(event.text);
        break;
      case "execute_result":
        await display(event.data, label(event.execution_count));
        break;
      case "display_data":
      case "update_display_data":
        await display(event.data, "");
        break;
      case "error":
        await err.line(err.styled(traceback(event)));
        break;
      case "gap":
        await warn("Some output was lost: more came than could be kept");
        break;
      case "refused":
        await warn(
          `The kernel sent something that nobody can read, and it is left out: ${refusal(event)}`,
        );
        break;
      case "unreadable":
        await warn(
          `Something that the server sent could not be read, and is left out: ${event.why}`,
        );
        break;
      case "queued":
        if (err.isTerminal) {
          await err.line(err.colors.dim("Waiting: the session is busy"));
        }
        break;
      default: // of no interest to whoever waits for output
    }
  };
}

/** One JSON object a line. */
export function forPrograms(
  terminal: Terminal,
  { savePicture }: ShowOptions,
): Show {
  return async (event) => {
    await terminal.json(toJson(event));
    if (savePicture === undefined || !("data" in event)) return;
    const picture = pictureIn(event.data);
    if (picture === undefined) return;
    const path = await savePicture(picture);
    await terminal.json({ type: "saved", path, mime: picture.mime });
  };
}

/** Flat; of what we have no word for, what was said. */
function toJson(event: ExecutionEvent): Record<string, unknown> {
  if (event.type === "other") {
    const { type, seq, message } = event;
    const { msg_type, content } = message;
    return { type, msg_type, content, seq };
  }
  const { type, seq, ...said } = event;
  const rest = Object.entries(said).filter(([name]) => name !== "message"); // what it says is in the rest
  return { type, ...Object.fromEntries(rest), seq };
}

const WHY = {
  not_json: "not JSON",
  too_deep: "nested too deep",
  too_large: "too large",
} as const;

function refusal({
  msg_type,
  size,
  reason,
}: Extract<ExecutionEvent, { type: "refused" }>): string {
  return `${msg_type ?? "a message"} of ${size} bytes, ${WHY[reason]}`;
}

function traceback(error: {
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];
}): string {
  if (error.traceback.length > 0) return error.traceback.join("\n");
  const said = [error.ename, error.evalue].filter((word) => word !== "");
  return said.length > 0
    ? said.join(": ")
    : "The code failed, and the kernel did not say why";
}
