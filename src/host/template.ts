/**
 * Fills in the placeholders of kernelspecs.
 *
 * There are two notations: `{name}` in `argv` and `env`, `$VAR` and `${VAR}` in
 * `env`. All are replaced in one pass, so that an inserted value is never read
 * as a placeholder. An unknown name stays unchanged, because some kernels use
 * braces and dollar signs for themselves.
 */

export interface PlaceholderValues {
  /** For `$VAR` and `${VAR}`. If absent, a dollar sign has no meaning. */
  readonly variable?: (name: string) => string | undefined;
  /** For `{name}`. */
  readonly placeholder: (name: string) => string | undefined;
}

export function fillIn(
  text: string,
  { variable, placeholder }: PlaceholderValues,
): string {
  if (variable === undefined) {
    return text.replace(
      /\{(\w+)\}/g,
      (all, name: string) => placeholder(name) ?? all,
    );
  }
  return text.replace(
    /\$\$|\$([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)\}|\{(\w+)\}/g,
    (
      all,
      bare: string | undefined,
      braced: string | undefined,
      name: string | undefined,
    ) => {
      if (all === "$$") return "$";
      const variableName = bare ?? braced;
      if (variableName !== undefined) return variable(variableName) ?? all;
      return name === undefined ? all : (placeholder(name) ?? all);
    },
  );
}
