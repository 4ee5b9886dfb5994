/** The valid part of a kernel's `kernel_info_reply`. */
import type { KernelInfo } from "../../contract/index.ts";
import { KernelInfoReply } from "../../contract/kernel-info-reply.ts";

const Info = KernelInfoReply.shape;
const Language = Info.language_info.shape;

/**
 * The content of a `kernel_info_reply` with all required members. Members whose
 * type does not match the protocol are left out. Required members that are
 * missing get a default, because kernels without them work well.
 */
export function kernelInfoIn(
  content: Readonly<Record<string, unknown>>,
): KernelInfo {
  const { protocol_version, language_info } = content;
  return {
    ...fitting(content, Info),
    protocol_version:
      typeof protocol_version === "number"
        ? String(protocol_version)
        : typeof protocol_version === "string"
          ? protocol_version
          : "5.0",
    language_info: { name: "", ...fitting(language_info, Language) },
  };
}

/** The members that match `shape`, and those that it does not name. */
function fitting(
  value: unknown,
  shape: Readonly<
    Record<string, { safeParse(value: unknown): { success: boolean } }>
  >,
): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter(
      ([name, member]) =>
        !Object.hasOwn(shape, name) || shape[name]?.safeParse(member).success,
    ),
  );
}
