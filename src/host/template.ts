/**
 * Fills in the placeholders of kernelspecs.
 *
 * There are two notations: `{name}` in `argv` and `env`, `$VAR` and `${VAR}` in
 * `env`. All are replaced in one pass, so that an inserted value is never read
 * as a placeholder. An unknown name stays unchanged, because some kernels use
 * braces and dollar signs for themselves.
 */

export interface Sources {
  /** For `$VAR` and `${VAR}`. If absent, a dollar sign has no meaning. */
  readonly variable?: (name: string) => string | undefined;
  /** For `{name}`. */
  readonly placeholder: (name: string) => string | undefined;
}

export function filled(
  text: string,
  { variable, placeholder }: Sources,
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
      const wanted = bare ?? braced;
      if (wanted !== undefined) return variable(wanted) ?? all;
      return name === undefined ? all : (placeholder(name) ?? all);
    },
  );
}
