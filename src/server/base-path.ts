/**
 * The path under which a server answers, such as `/user/ann`. The dispatcher
 * removes it from each request, so doors do not depend on it. Addresses in answers
 * (`Location`, resources) begin with it.
 */

export interface BasePath {
  /** The path in answers: without a slash at its end; empty for a server that answers under all paths. */
  readonly path: string;
  /** The rest of a request's path, with a slash at its beginning; `undefined`: the request is outside of the base path. */
  below(path: string): string | undefined;
}

/** Throws a `TypeError` if `given` is not a path. */
export function basePathOf(given: string): BasePath {
  const { pathname, search, hash } = parsed(given);
  const path = pathname.replace(/\/+$/, "");
  const base = path.split("/").slice(1).map(decoded);
  if (search !== "" || hash !== "" || base.includes(undefined)) {
    throw new TypeError(
      `A base path is a path such as /user/ann, not ${given}`,
    );
  }
  return {
    path,
    below(asked) {
      if (path === "") return asked;
      const segments = asked.split("/").slice(1);
      const isBelow = base.every(
        (segment, at) => decoded(segments[at] ?? "") === segment,
      );
      return isBelow ? `/${segments.slice(base.length).join("/")}` : undefined;
    },
  };
}

function parsed(given: string): URL {
  return new URL(`http://localhost/${given.replace(/^\/+/, "")}`);
}

/** An escape means the same as the character. `undefined`: the escapes are not UTF-8. */
function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
