/** Pictures in the output of code: saved in a directory if one is given, else only described. No file is overwritten. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MimeBundle } from "../../client/index.ts";
import { CommandError } from "./exit.ts";
import { size } from "./table.ts";
import { whyOf } from "./why.ts";

/** Of a display with several formats, the first one in this list is saved. */
const formats: readonly (readonly [mime: string, extension: string])[] = [
  ["image/png", "png"],
  ["image/svg+xml", "svg"],
  ["image/jpeg", "jpg"],
  ["image/gif", "gif"],
  ["image/webp", "webp"],
  ["application/pdf", "pdf"],
];
/** Saved if the display has no other format that can be shown. */
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
  const value = textOfFormat(data, mime);
  if (value === undefined) return undefined;
  const isText = mime === "image/svg+xml" || mime.startsWith("text/");
  return {
    mime,
    extension,
    bytes: Buffer.from(value, isText ? "utf8" : "base64"),
  };
}

/** The text of a format; some kernels send it as a list of pieces. */
export function textOfFormat(
  data: MimeBundle,
  mime: string,
): string | undefined {
  const value = data[mime];
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.join("") : undefined;
}

export function describePicture({ mime, bytes }: Picture): string {
  return `${mime}, ${size(bytes.length)}`;
}

/** Resolves with the new file's path. Rejects with `refused` if the file cannot be written. */
export type SavePicture = (picture: Picture) => Promise<string>;

/** Saves pictures in a directory, and numbers them. */
export function savingIn(directory: string): SavePicture {
  let last = 0;
  return async ({ extension, bytes }) => {
    try {
      await mkdir(directory, { recursive: true });
      for (;;) {
        last += 1;
        const path = join(directory, `picture-${last}.${extension}`);
        if (await writeNew(path, bytes)) return path;
      }
    } catch (cause) {
      throw new CommandError(
        "refused",
        `A picture cannot be saved in ${directory}: ${whyOf(cause)}`,
        { cause },
      );
    }
  };
}

/** Resolves with false if the file exists already. */
async function writeNew(path: string, bytes: Buffer): Promise<boolean> {
  try {
    await writeFile(path, bytes, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
