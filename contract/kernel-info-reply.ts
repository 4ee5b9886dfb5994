/** The description that a kernel gives of itself: the content of `kernel_info_reply`. */
import * as z from "zod";

export const KernelInfoReply = z.looseObject({
  status: z.string().optional().describe("Some kernels omit it"),
  protocol_version: z.string(),
  implementation: z.string().optional(),
  implementation_version: z.string().optional(),
  language_info: z
    .looseObject({
      name: z.string(),
      version: z.string().optional(),
      mimetype: z.string().optional(),
      file_extension: z.string().optional(),
    })
    .meta({ id: "LanguageInfo" }),
  banner: z.string().optional(),
  help_links: z
    .array(
      z
        .looseObject({ text: z.string(), url: z.string() })
        .meta({ id: "HelpLink" }),
    )
    .optional(),
  supported_features: z.array(z.string()).optional(),
});
