/**
 * Replaces the ids that the recorded client chose by those of the present
 * client, in the messages of a replayed kernel. A widget that captures output
 * names the request that it captures; a comm that a client opened has the id
 * that the client gave it.
 *
 * Client messages are not recorded. So a recorded comm id that the kernel did
 * not choose is mapped to a comm that the present client has opened.
 */
import type { JupyterEvent } from "../contract/index.ts";
import { recordIn } from "../outputs/outputs.ts";
import type { Content } from "../kernels/io.ts";

interface OpenedByClient {
  readonly comm_id: string;
  readonly target_name: string;
}

/** An id with so many characters does not occur in a text by chance. */
const MIN_ID_LENGTH = 8;

export class RecordedIds {
  /** recorded `msg_id` of a request → present `msg_id` */
  readonly #requests = new Map<string, string>();
  /** recorded `comm_id` → present `comm_id`, for ids that a client chose */
  readonly #comms = new Map<string, string>();
  /** Ids that the kernel chose. */
  readonly #kernelComms = new Set<string>();
  /** Comms whose recorded id is not known yet. */
  readonly #unmapped: OpenedByClient[] = [];
  /** `comm_id` to `target_name` of the kernel's comms that are open. */
  readonly #open = new Map<string, string>();

  /** The kernel's own comms that are open. */
  get open(): Iterable<readonly [comm_id: string, target_name: string]> {
    return this.#open;
  }

  mapRequest(recorded: string, present: string): void {
    this.#requests.set(recorded, present);
  }

  openedByClient({ comm_id, target_name }: Content): void {
    this.#unmapped.push({
      comm_id: String(comm_id),
      target_name: String(target_name),
    });
  }

  /** The content with the present client's ids; `request` is the content of the request. */
  translate(
    { header: { msg_type }, content }: JupyterEvent,
    request: Content | undefined,
  ): Content {
    const isOfComms = msg_type.startsWith("comm_");
    if (!isOfComms && this.#comms.size === 0) return content;
    const { comm_id } = recordIn(content);
    if (msg_type === "comm_open" && typeof comm_id === "string") {
      this.#kernelComms.add(comm_id);
      this.#open.set(comm_id, String(content["target_name"]));
    }
    if (msg_type === "comm_close") this.#open.delete(String(comm_id));
    if (msg_type === "comm_info_reply") return this.#withComms(content);
    return this.#renameIds(content, request) as Content;
  }

  #withComms(content: Content): Content {
    const comms = Object.entries(recordIn(recordIn(content)["comms"])).map(
      ([id, about]) => {
        const { target_name } = recordIn(about);
        return [this.#presentComm(id, { target_name }), about] as const;
      },
    );
    return { ...content, comms: Object.fromEntries(comms) };
  }

  #renameIds(value: unknown, request: Content | undefined): unknown {
    if (typeof value === "string") return this.#inText(value);
    if (Array.isArray(value)) {
      return value.map((inner) => this.#renameIds(inner, request));
    }
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value).map(([name, inner]) => {
      if (typeof inner !== "string") {
        return [name, this.#renameIds(inner, request)] as const;
      }
      if (name === "msg_id") {
        return [name, this.#requests.get(inner) ?? inner] as const;
      }
      if (name !== "comm_id") return [name, this.#inText(inner)] as const;
      return [
        name,
        this.#presentComm(inner, { comm_id: request?.["comm_id"] }),
      ] as const;
    });
    return Object.fromEntries(entries);
  }

  /** Replaces ids in text, such as a traceback that names the comm. */
  #inText(text: string): string {
    let translated = text;
    for (const [recorded, present] of this.#comms) {
      if (recorded.length < MIN_ID_LENGTH) continue;
      translated = translated.replaceAll(recorded, present);
    }
    return translated;
  }

  #presentComm(
    recorded: string,
    like: { readonly comm_id?: unknown; readonly target_name?: unknown },
  ): string {
    const known = this.#comms.get(recorded);
    if (known !== undefined) return known;
    if (this.#kernelComms.has(recorded)) return recorded;
    const found =
      this.#unmapped.find(({ comm_id }) => comm_id === recorded) ??
      this.#unmapped.find(
        ({ comm_id, target_name }) =>
          comm_id === like.comm_id || target_name === like.target_name,
      ) ??
      this.#unmapped[0];
    if (found === undefined) return recorded;
    this.#unmapped.splice(this.#unmapped.indexOf(found), 1);
    this.#comms.set(recorded, found.comm_id);
    return found.comm_id;
  }
}
