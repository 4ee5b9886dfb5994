/** Pictures that code shows: saved where they were asked for, else named. No file is ever overwritten. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MimeBundle } from "../../client/index.ts";
import { CommandError } from "./exit.ts";
import { size } from "./table.ts";
import { whyOf } from "./why.ts";

/** What is kept of a display that comes in several formats: the first of these. */
const formats: readonly (readonly [mime: string, extension: string])[] = [
  ["image/png", "png"],
  ["image/svg+xml", "svg"],
  ["image/jpeg", "jpg"],
  ["image/gif", "gif"],
  ["image/webp", "webp"],
  ["application/pdf", "pdf"],
];
/** Kept where there is nothing else to show. */
const page = ["text/html", "html"] as const;

export interface Picture {
  readonly mime: string;
  readonly extension: string;
  readonly bytes: Buffer;
}

export function pictureIn(data: MimeBundle): Picture | undefined {
  const format =
    formats.find(([mime]) => mime in data) ??
    (page[0] in data && !("text/plain" in data) ? page : undefined);
  if (format === undefined) return undefined;
  const [mime, extension] = format;
  const value = textIn(data, mime);
  if (value === undefined) return undefined;
  const isText = mime === "image/svg+xml" || mime.startsWith("text/");
  return {
    mime,
    extension,
    bytes: Buffer.from(value, isText ? "utf8" : "base64"),
  };
}

/** A format's text; some kernels say it in pieces. */
export function textIn(data: MimeBundle, mime: string): string | undefined {
  const value = data[mime];
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.join("") : undefined;
}

export function describePicture({ mime, bytes }: Picture): string {
  return `${mime}, ${size(bytes.length)}`;
}

/** Resolves with the new file's path. Throws `refused` where it cannot be written. */
export type SavePicture = (picture: Picture) => Promise<string>;

/** Saves pictures in a folder, and numbers them. */
export function savingIn(folder: string): SavePicture {
  let last = 0;
  return async ({ extension, bytes }) => {
    try {
      await mkdir(folder, { recursive: true });
      for (;;) {
        last += 1;
        const path = join(folder, `picture-${last}.${extension}`);
        if (await wrote(path, bytes)) return path;
      }
    } catch (cause) {
      throw new CommandError(
        "refused",
        `A picture cannot be saved in ${folder}: ${whyOf(cause)}`,
        { cause },
      );
    }
  };
}

/** False where the name is taken. */
async function wrote(path: string, bytes: Buffer): Promise<boolean> {
  try {
    await writeFile(path, bytes, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
