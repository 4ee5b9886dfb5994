/** The address of a request, read as what it is: the client's word. */
import type { IncomingMessage } from "node:http";
import { failure } from "../../contract/index.ts";

/** Only path and query are the client's, in either form of a request's target; a path may begin with two slashes. */
export function urlOf({ url = "/" }: IncomingMessage): URL {
  const path = /^[a-z][a-z\d+.-]*:\/\/[^/?#]*(.*)$/i.exec(url)?.[1] ?? url;
  return new URL(`http://localhost${path.startsWith("/") ? "" : "/"}${path}`);
}

/** A segment of a path. Throws `bad_request`. */
export function decodedSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    const why = "The path is no percent-encoded UTF-8";
    throw failure("bad_request", { why }, { cause });
  }
}
