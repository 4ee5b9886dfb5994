/** The document without unused components, and with the others in alphabetical order. */
import type { oas31 } from "zod-openapi";

const PREFIX = "#/components/";

export function pruned(document: oas31.OpenAPIObject): oas31.OpenAPIObject {
  const { components = {}, ...rest } = document;
  const { securitySchemes, ...parts } = components;
  const reached = new Set<string>();
  reach(rest);
  const kept = Object.entries(parts).map(([kind, members]) => [
    kind,
    Object.fromEntries(
      Object.entries(members as Record<string, unknown>)
        .filter(([name]) => reached.has(`${kind}/${name}`))
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ),
  ]);
  return {
    ...rest,
    components: {
      ...(Object.fromEntries(kept) as oas31.ComponentsObject),
      ...(securitySchemes !== undefined && { securitySchemes }),
    },
  };

  function reach(value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    for (const [key, part] of Object.entries(value)) {
      if (key === "$ref" && typeof part === "string") follow(part);
      else reach(part);
    }
  }

  function follow(ref: string): void {
    const name = ref.slice(PREFIX.length);
    if (reached.has(name)) return;
    reached.add(name);
    const [kind = "", member = ""] = name.split("/");
    reach(
      (components as Record<string, Record<string, unknown> | undefined>)[
        kind
      ]?.[member],
    );
  }
}
