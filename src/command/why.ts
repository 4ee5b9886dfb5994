/** Explains the system's error codes, so that a person need not know them. */

const explanations: Readonly<Record<string, string>> = {
  EACCES: "you have no permission",
  EADDRINUSE: "another program listens there already",
  EADDRNOTAVAIL: "this machine has no such address",
  ECONNREFUSED: "nothing listens there",
  EEXIST: "it exists already",
  EHOSTUNREACH: "the host cannot be reached",
  EISDIR: "it is a directory",
  ELOOP: "its symbolic links lead in a circle",
  EMFILE: "this program has too many files open",
  ENAMETOOLONG: "its name is too long",
  ENFILE: "this machine has too many files open",
  ENOENT: "there is no such file or directory",
  ENOSPC: "the disk is full",
  ENOTDIR: "a part of its path is not a directory",
  ENOTFOUND: "there is no host of that name",
  ENXIO: "no program reads it",
  EPERM: "the system does not permit it",
  EROFS: "the file system is read-only",
};

/** Searches the causes too, because `fetch` puts the system's error there. */
export function whyOf(error: unknown): string {
  let deepest = String(error);
  for (let found = error; found instanceof Error; found = found.cause) {
    const { code = "" } = found as NodeJS.ErrnoException;
    const why = explanations[code];
    if (why !== undefined) return why;
    if (found.message !== "") deepest = found.message;
  }
  return deepest;
}
