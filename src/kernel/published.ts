/** Puts the connection file of each kernel that is launched where Jupyter's tools look for it, until the kernel ends. */
import type { ConnectionFiles } from "../host/connection-files.ts";
import type { Provisioner } from "./kernel.ts";

export function publishing(
  provisioner: Provisioner,
  files: ConnectionFiles,
): Provisioner {
  return {
    adopt: (...args) => provisioner.adopt(...args),
    reserve: (recipe) => provisioner.reserve(recipe),
    acknowledge: (run_id, number) => provisioner.acknowledge?.(run_id, number),
    async launch(recipe, hooks, signal) {
      const kernel = await provisioner.launch(recipe, hooks, signal);
      const { session_id, kernel_id, kernel_name = "" } = recipe;
      if (kernel_id !== undefined) {
        const { pid, connection } = kernel;
        await files.write({
          session_id,
          kernel_id,
          kernel_name,
          pid,
          connection,
        });
      }
      return kernel;
    },
    release(session_id) {
      files.remove(session_id);
      provisioner.release(session_id);
    },
  };
}
