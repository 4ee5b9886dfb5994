/**
 * The two notations that kernelspecs use for what is only known at the start.
 *
 * `{name}` in `argv` and `env`, `$VAR` and `${VAR}` in `env`. One pass, so that
 * what was filled in is never read as a placeholder again; an unknown name stays
 * as it is written, because some kernels use braces and dollars of their own.
 */

export interface Sources {
  /** For `$VAR` and `${VAR}`; where absent, a dollar means nothing. */
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
