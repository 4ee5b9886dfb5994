/** Labels: clients attach them to sessions to find the sessions again. The server does not interpret them. */
import * as z from "zod";

/** The most labels that one session may have. */
const MAX_LABELS = 64;

export const LabelKey = z
  .string()
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/,
    "is not 1 to 63 letters, digits, `.`, `_`, `/` and `-`, with a letter or digit at both ends",
  );

export const LabelValue = z
  .string()
  .regex(
    new RegExp("^[^\\u0000-\\u001f\\u007f]{0,256}$"),
    "is longer than 256 characters, or has a control character",
  );

export const Labels = z
  .record(LabelKey, LabelValue)
  .refine((labels) => Object.keys(labels).length <= MAX_LABELS, {
    message: `has more than ${MAX_LABELS} labels`,
  })
  .describe(
    `At most ${MAX_LABELS} labels. A key has 1 to 63 letters, digits, \`.\`, \`_\`, \`/\` and \`-\`; a value has at most 256 characters, and none is a control character`,
  )
  .meta({ id: "Labels", maxProperties: MAX_LABELS });
export type Labels = z.infer<typeof Labels>;

const LabelSelector = z.string().min(1).max(320);

export const LabelFilter = z
  .union([z.array(LabelSelector).max(MAX_LABELS), LabelSelector])
  .optional()
  .describe(
    "Only sessions with this label: `key=value`, or `key` for any value. If given several times: only sessions with all of these labels",
  );

/** Whether `labels` match every selector of the filter. */
export function fits(
  labels: Readonly<Record<string, string>>,
  filter: z.infer<typeof LabelFilter>,
): boolean {
  return [filter ?? []].flat().every((each) => {
    const at = each.indexOf("=");
    const key = at === -1 ? each : each.slice(0, at);
    if (!Object.hasOwn(labels, key)) return false;
    return at === -1 || labels[key] === each.slice(at + 1);
  });
}
