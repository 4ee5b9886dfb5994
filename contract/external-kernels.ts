/** Kernels that other programs started on this machine, and that can be adopted. */
import * as z from "zod";
import { query } from "./operation.ts";

export const ExternalKernel = z
  .looseObject({
    kernel_id: z
      .string()
      .describe("The kernel's id, as the name of the file has it"),
    connection_file: z
      .string()
      .describe("The file's name, for the operation that adopts the kernel"),
    kernel_name: z.string().describe("The kernelspec; empty if unknown"),
    modified: z.string().describe("When the file was written: ISO 8601"),
  })
  .meta({ id: "ExternalKernel" });
export type ExternalKernel = z.infer<typeof ExternalKernel>;

export const external_kernels = {
  list: query({
    route: "GET /external_kernels",
    summary: "List kernels that can be adopted",
    access: "admin",
    description:
      "Kernels that other programs of the same user started: those with a connection file in Jupyter's runtime directory that accept connections. The oldest is first.",
    input: z.void(),
    output: z
      .object({
        directory: z
          .string()
          .nullable()
          .describe(
            "Jupyter's runtime directory; `null` if the server does not use it",
          ),
        kernels: z.array(ExternalKernel),
      })
      .meta({ id: "ExternalKernelList" }),
  }),
};
