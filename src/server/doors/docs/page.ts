/**
 * An HTML page without external parts: only its own scripts and styles run, by
 * their digests, and it sends requests only to this server.
 */
import { createHash } from "node:crypto";

export interface Page {
  readonly body: string;
  readonly headers: Record<string, string>;
}

export interface PageParts {
  readonly styles: readonly string[];
  readonly body: string;
  readonly scripts: readonly string[];
}

/** The caller escapes styles and scripts, so that the HTML parser reads them to their end. */
export function pageOf({ styles, body, scripts }: PageParts): Page {
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kallichore</title>
<link rel="icon" href="data:,">
${styles.map((text) => `<style>${text}</style>`).join("\n")}
</head>
<body>
${body}
${scripts.map((text) => `<script>${text}</script>`).join("\n")}
</body>
</html>
`;
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.map(source).join(" ")}`,
    `style-src ${styles.map(source).join(" ")}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return {
    body: html,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": policy.join("; "),
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store", // its address may hold a token
    },
  };
}

function source(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
