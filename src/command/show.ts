/** Shows the events of running code to a person or a program. Each event waits until the reader has room for it. */
import type { ExecutionEvent, MimeBundle } from "../../client/index.ts";
import {
  describePicture,
  pictureIn,
  type SavePicture,
  textOfFormat,
} from "./pictures.ts";
import type { Terminal } from "./terminal.ts";

export type Show = (event: ExecutionEvent) => Promise<void>;

export interface ShowOptions {
  readonly savePicture?: SavePicture | undefined;
  /** A text before each result, such as `Out[3]: `. */
  readonly label?: (count: number | null) => string;
}

/** Writes standard output to standard output, standard error to standard error, and results as text. */
export function forPeople(
  terminal: Terminal,
  { savePicture, label = () => "" }: ShowOptions,
): Show {
  const { out, err } = terminal;
  const warn = (text: string) => err.line(`${err.colors.yellow("!")} ${text}`);

  async function display(data: MimeBundle, before: string): Promise<void> {
    const text = textOfFormat(data, "text/plain");
    if (text !== undefined) await out.write(`${before}${text}\n`);
    const picture = pictureIn(data);
    if (picture !== undefined && savePicture !== undefined) {
      const path = await savePicture(picture);
      await err.line(err.colors.dim(`Saved ${path}`));
    } else if (picture !== undefined) {
      const description = describePicture(picture);
      await err.line(
        err.colors.dim(`(${description}; --save-to DIR saves it)`),
      );
    } else if (text === undefined) {
      const types = Object.keys(data).join(", ");
      await err.line(err.colors.dim(`(${types})`));
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
        await warn("Some output was lost: the server could not keep all of it");
        break;
      case "refused":
        await warn(
          `A message of the kernel could not be read and is left out: ${refusal(event)}`,
        );
        break;
      case "unreadable":
        await warn(
          `A message of the server could not be read and is left out: ${event.why}`,
        );
        break;
      case "queued":
        if (err.isTerminal) {
          await err.line(err.colors.dim("Waiting: the session is busy"));
        }
        break;
      default: // not output
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

/** A flat object. A message of an unknown type keeps its type and content. */
function toJson(event: ExecutionEvent): Record<string, unknown> {
  if (event.type === "other") {
    const { type, seq, message } = event;
    const { msg_type, content } = message;
    return { type, msg_type, content, seq };
  }
  const { type, seq, ...fields } = event;
  const rest = Object.entries(fields).filter(([name]) => name !== "message"); // the other fields have its content
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
  const parts = [error.ename, error.evalue].filter((part) => part !== "");
  return parts.length > 0
    ? parts.join(": ")
    : "The code failed; the kernel gave no reason";
}
