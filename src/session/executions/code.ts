/**
 * The code of an execution as answers show it, out of the JSON that travels:
 * of long code only the beginning and the end are parsed.
 */
import { limits } from "../../../contract/limits.ts";
import type { ShownCode } from "../../../contract/index.ts";
import { unitsIn } from "../../jupyter/large-json.ts";
import type { Message } from "../../jupyter/message.ts";
import { membersIn } from "../../jupyter/raw-json.ts";
import { boundary } from "../clipped-text.ts";

/** UTF-16 units of long code that are shown of its beginning, and again of its end. */
const CLIP = 4096;
/** Bytes of JSON that spell more than these, however they are escaped. */
const ENOUGH = 6 * (CLIP + 2);

const NOTHING = Buffer.from('""');
const QUOTE = 0x22;

export class Code {
  readonly #json: Buffer;
  /** In UTF-16 units. */
  readonly #length: number;
  /** Of long code, the beginning and the end. */
  readonly #ends: string;

  constructor({ raw }: Pick<Message, "raw">) {
    const json = membersIn(raw.content).get("code");
    this.#json = json?.[0] === QUOTE ? json : NOTHING;
    if (this.#json.length <= 2 * ENOUGH) {
      const code = parsed(this.#json);
      this.#length = code.length;
      this.#ends = code.length > 2 * CLIP ? ends(code, code) : code;
    } else {
      this.#length = unitsIn(this.#json);
      const string = this.#json.subarray(1, -1);
      const from = boundary(string, ENOUGH);
      const to = boundary(string, string.length - ENOUGH);
      this.#ends = ends(
        parsed(`"${string.subarray(0, from).toString()}"`),
        parsed(`"${string.subarray(to).toString()}"`),
      );
    }
  }

  /** Whole, as long as it is not too large for that. */
  get shown(): ShownCode {
    return this.#json.length <= limits.shown_code_bytes
      ? this.#whole
      : this.listed;
  }

  /** Of long code, the beginning and the end. */
  get listed(): ShownCode {
    if (this.#length <= 2 * CLIP) return this.#whole;
    return {
      code: this.#ends,
      code_length: this.#length,
      code_is_clipped: true,
    };
  }

  get #whole(): ShownCode {
    return {
      code: parsed(this.#json),
      code_length: this.#length,
      code_is_clipped: false,
    };
  }
}

function parsed(json: Buffer | string): string {
  return JSON.parse(json.toString()) as string;
}

/** Each is cut between characters. */
function ends(beginning: string, end: string): string {
  const first = beginning.slice(0, CLIP).replace(/[\ud800-\udbff]$/, "");
  const last = end.slice(-CLIP).replace(/^[\udc00-\udfff]/, "");
  return `${first}\n…\n${last}`;
}
