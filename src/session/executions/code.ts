/**
 * The code of an execution as answers show it, read from the request's JSON. Of
 * long code, only the beginning and the end are parsed.
 */
import { truncate } from "../../../contract/truncate.ts";
import { limits } from "../../../contract/limits.ts";
import type { ShownCode } from "../../../contract/index.ts";
import { unitsIn } from "../../jupyter/large-json.ts";
import type { Message } from "../../jupyter/message.ts";
import { membersIn } from "../../jupyter/raw-json.ts";
import { boundary } from "../clipped-text.ts";

/** Of long code, this many UTF-16 units are shown of the beginning, and as many of the end. */
const CLIP = 4096;
/** Bytes of JSON that always encode more than `CLIP` units, also if all are escapes. */
const CLIP_BYTES = 6 * (CLIP + 2);

const NOTHING = Buffer.from('""');
const QUOTE = 0x22;

export interface Code {
  /** The whole code, unless it is too large for an answer. */
  readonly shown: ShownCode;
  /** The beginning and the end of long code, for lists. */
  readonly listed: ShownCode;
}

export function codeOf({ raw }: Pick<Message, "raw">): Code {
  const found = membersIn(raw.content).get("code");
  const json = found?.[0] === QUOTE ? found : NOTHING;
  const clipped = clippedCode(json);
  const whole = (): ShownCode => {
    const code = parsed(json);
    return { code, code_length: code.length, code_is_clipped: false };
  };
  return {
    get shown() {
      return json.length <= limits.shown_code_bytes ? whole() : this.listed;
    },
    get listed() {
      return clipped ?? whole();
    },
  };
}

/** `undefined` for code that is not long. */
function clippedCode(json: Buffer): ShownCode | undefined {
  if (json.length <= 2 * CLIP_BYTES) {
    const code = parsed(json);
    return code.length > 2 * CLIP ? ends(code, code, code.length) : undefined;
  }
  const string = json.subarray(1, -1);
  const from = boundary(string, CLIP_BYTES);
  const to = boundary(string, string.length - CLIP_BYTES);
  return ends(
    parsed(`"${string.subarray(0, from).toString()}"`),
    parsed(`"${string.subarray(to).toString()}"`),
    unitsIn(json),
  );
}

function parsed(json: Buffer | string): string {
  return JSON.parse(json.toString()) as string;
}

/** Cuts both between characters. */
function ends(beginning: string, end: string, code_length: number): ShownCode {
  const first = truncate(beginning, CLIP);
  const last = end.slice(-CLIP).replace(/^[\udc00-\udfff]/, "");
  return { code: `${first}\n…\n${last}`, code_length, code_is_clipped: true };
}
