/** Parses the address of a request, which is untrusted. */
import type { IncomingMessage } from "node:http";
import { failure } from "../../contract/index.ts";

/** Only path and query are taken, from either form of a request's target. A path may begin with two slashes. */
export function urlOf({ url = "/" }: Pick<IncomingMessage, "url">): URL {
  const path = /^[a-z][a-z\d+.-]*:\/\/[^/?#]*(.*)$/i.exec(url)?.[1] ?? url;
  return new URL(`http://localhost${path.startsWith("/") ? "" : "/"}${path}`);
}

/** A segment of a path. Throws `bad_request`. */
export function decodedSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    const why = "The path is not percent-encoded UTF-8";
    throw failure("bad_request", { why }, { cause });
  }
}
