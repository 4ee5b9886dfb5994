/** What may import what, from the list of rooms; and that no imports go in a circle, of types neither. */
import { rooms } from "./rooms.js";

/** Files outside every room: tests, benches, scripts and configuration may use all. */
const OUTSIDE = "^(test|bench|scripts)/|^[^/]+$";

const seen = new Set();
const allowed = [{ from: { path: OUTSIDE }, to: {} }];
for (const { name, uses, packages = [], browser = false, ...room } of rooms) {
  for (const other of uses) {
    if (!seen.has(other)) {
      throw new Error(`${name} uses ${other}, which is no room above it`);
    }
  }
  seen.add(name);
  const from = { path: filesOf(room) };
  const others = rooms.filter((other) => uses.includes(other.name));
  allowed.push({ from, to: { path: [room, ...others].map(filesOf) } });
  if (!browser) allowed.push({ from, to: { dependencyTypes: ["core"] } });
  if (packages.length > 0) {
    const path = packages.map((name) => `(^|/)node_modules/(@types/)?${name}/`);
    allowed.push({ from, to: { path } });
  }
}

function filesOf({ folder, files = `^${folder}` }) {
  return files;
}

export default {
  forbidden: [
    {
      name: "no-circles",
      comment: "Two files that need each other are one file, or three.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "nothing-missing",
      severity: "error",
      from: { pathNot: "^examples/|^test/package/|^scripts/generators/" },
      to: { couldNotResolve: true },
    },
  ],
  allowed,
  allowedSeverity: "error",
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(test/package|scripts/generators/programs|dist)/" },
    tsPreCompilationDeps: true, // imports of types count
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "types", "node", "default"],
      extensions: [".ts", ".js", ".mjs", ".json"],
    },
  },
};
