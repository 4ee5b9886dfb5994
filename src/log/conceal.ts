/**
 * The second line of defence: no code logs a secret on purpose, and a secret that
 * gets into a line by mistake is replaced before the line is written.
 */

const HIDDEN = "[hidden]";

/** Fields whose values are never written. */
const SECRET_FIELD =
  /token|secret|password|passphrase|authorization|cookie|signature|^(key|env|environment|code)$/i;

export function isSecretField(name: string): boolean {
  return SECRET_FIELD.test(name);
}

const SECRET_TEXTS: readonly (readonly [RegExp, string])[] = [
  [/\b(bearer|token) +[\w.~+/=-]{8,}/gi, `$1 ${HIDDEN}`],
  [/([?&](?:token|access_token)=)[^&\s"']+/gi, `$1${HIDDEN}`],
  [
    /("(?:key|token|bearer_token|secret|password)"\s*:\s*)"(?:[^"\\]|\\.)*"/gi,
    `$1"${HIDDEN}"`,
  ],
];

/** Replaces `secrets`, and text that looks like a secret. */
export function concealed(text: string, secrets: Iterable<string>): string {
  let shown = text;
  for (const secret of secrets) shown = shown.replaceAll(secret, HIDDEN);
  for (const [pattern, replacement] of SECRET_TEXTS) {
    shown = shown.replace(pattern, replacement);
  }
  return shown;
}
