/** What running code says, as a person or a program reads it. Each `show` resolves when there is room for more. */
import type { ExecutionEvent } from "../../client/index.ts";
import { type Album, describePicture, pictureIn, textIn } from "./pictures.ts";
import type { Terminal } from "./terminal.ts";

export interface Show {
  show(event: ExecutionEvent): Promise<void>;
}

/** Standard output to standard output, standard error to standard error, results as text. */
export class ForPeople implements Show {
  readonly #terminal: Terminal;
  readonly #album: Album | undefined;
  /** Stands before a result, such as `Out[3]: `. */
  readonly #label: (count: number | null) => string;

  constructor(
    terminal: Terminal,
    {
      album,
      label = () => "",
    }: {
      album?: Album | undefined;
      label?: (count: number | null) => string;
    } = {},
  ) {
    this.#terminal = terminal;
    this.#album = album;
    this.#label = label;
  }

  async show(event: ExecutionEvent): Promise<void> {
    const { out, err } = this.#terminal;
    switch (event.type) {
      case "stream":
        await (event.name === "stdout" ? out : err).write(event.text);
        break;
      case "execute_result":
        await this.#display(event.data, this.#label(event.execution_count));
        break;
      case "display_data":
      case "update_display_data":
        await this.#display(event.data, "");
        break;
      case "error":
        await err.line(err.styled(traceback(event)));
        break;
      case "gap": {
        const mark = err.colors.yellow("!");
        await err.line(
          `${mark} Some output was lost: more came than could be kept`,
        );
        break;
      }
      case "refused": {
        const mark = err.colors.yellow("!");
        await err.line(
          `${mark} The kernel sent something that nobody can read, and it is left out: ${refusal(event)}`,
        );
        break;
      }
      case "unreadable": {
        const mark = err.colors.yellow("!");
        await err.line(
          `${mark} Something that the server sent could not be read, and is left out: ${event.why}`,
        );
        break;
      }
      case "queued":
        if (err.isTerminal) {
          await err.line(err.colors.dim("Waiting: the session is busy"));
        }
        break;
      default: // of no interest to whoever waits for output
    }
  }

  async #display(
    data: Parameters<typeof pictureIn>[0],
    label: string,
  ): Promise<void> {
    const { out, err } = this.#terminal;
    const text = textIn(data, "text/plain");
    if (text !== undefined) await out.write(`${label}${text}\n`);
    const picture = pictureIn(data);
    if (picture !== undefined && this.#album !== undefined) {
      const path = await this.#album.save(picture);
      await err.line(err.colors.dim(`Saved ${path}`));
    } else if (picture !== undefined) {
      const what = describePicture(picture);
      await err.line(err.colors.dim(`(${what}; --save-to DIR keeps it)`));
    } else if (text === undefined) {
      const what = Object.keys(data).join(", ");
      await err.line(err.colors.dim(`(${what})`));
    }
  }
}

/** One JSON object a line. */
export class ForPrograms implements Show {
  readonly #terminal: Terminal;
  readonly #album: Album | undefined;

  constructor(terminal: Terminal, album: Album | undefined) {
    this.#terminal = terminal;
    this.#album = album;
  }

  async show(event: ExecutionEvent): Promise<void> {
    await this.#terminal.json(spelled(event));
    if (this.#album === undefined || !("data" in event)) return;
    const picture = pictureIn(event.data);
    if (picture === undefined) return;
    const path = await this.#album.save(picture);
    await this.#terminal.json({ type: "saved", path, mime: picture.mime });
  }
}

/** Flat; of what we have no word for, what was said. */
function spelled(event: ExecutionEvent): Record<string, unknown> {
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
