/**
 * `kallichore serve`, started by a JupyterHub: as the server of a user, or as a
 * service.
 *
 * The Hub says in variables where to listen, and under which path. Its proxy
 * passes requests on with the tokens that the Hub has given out, so the Hub is
 * asked who may use this server. It is told when a user's server was last used, so
 * that it can end those that nobody uses.
 *
 * There is no login in a browser (OAuth), and no TLS between the Hub and the
 * server (`internal_ssl`).
 */
import { createHash } from "node:crypto";
import { homedir } from "node:os";
import * as z from "zod";
import type { RunningServer } from "../serve.ts";
import type { Log } from "../log/log.ts";
import { CommandError } from "./exit.ts";
import type { ServeOptions } from "./serve-options.ts";
import { whyOf } from "./why.ts";

export interface Hub {
  /** What the command prints when the server listens. */
  readonly greeting: string;
  /** The options, with what the Hub says. Throws `usage` if they contradict it. */
  serveOptions(options: ServeOptions): ServeOptions;
  /** Asks the Hub whether the owner of a token may use this server. The answers are kept for a while. */
  acceptsToken(log: Log): (token: string) => Promise<boolean>;
  /** Tells the Hub when the server was last used, until the result is disposed. */
  reportActivity(supervisor: Supervisor, log: Log): Disposable;
}

type Supervisor = RunningServer["supervisor"];
type Environment = Readonly<Record<string, string | undefined>>;

/** How long a request to the Hub may take. */
const TIMEOUT_MS = 10_000;
/** Two readings of the same time may differ by so much. */
const CLOCK_MS = 100;
/** How long the Hub's answers about tokens are used; so long may a token work that was revoked. Jupyter's own servers use the same time. */
const ACCEPTED_MS = 300_000;
const REFUSED_MS = 10_000;
/** Answers that are kept. */
const MOST_ANSWERS = 1_000;
/** Questions to the Hub at one time. Another token is refused meanwhile. */
const MOST_QUESTIONS = 16;
/** Between two reports of activity. */
const REPORT_S = 300;
/** After a report that failed; doubled by each further one, up to the usual time. */
const RETRY_S = 15;

/** Reads the Hub's variables. Throws `usage` for a setting that is not supported. */
export function hubIn(env: Environment): Hub {
  const where = listenAddress(env);
  const prefix = env["JUPYTERHUB_SERVICE_PREFIX"] ?? "/";
  const isService = env["JUPYTERHUB_SERVICE_NAME"] !== undefined;
  return {
    greeting: `kallichore listens under ${prefix}; JupyterHub decides who may use it`,

    serveOptions(options) {
      if (options.token === "none") {
        throw new CommandError(
          "usage",
          "Without a token, everybody who can reach JupyterHub's proxy could run programs here",
          { hint: "Omit --token." },
        );
      }
      enterDirectory(env["JUPYTERHUB_ROOT_DIR"]);
      return {
        ...options,
        ...where,
        baseUrl: prefix,
        allowHost: ["*"], // the proxy's, which the Hub does not tell
        ...(env["JUPYTERHUB_DEBUG"] === "1" && { logLevel: "debug" }),
      };
    },

    acceptsToken: (log) => tokenCheck(env, log),

    reportActivity(supervisor, log) {
      const url = env["JUPYTERHUB_ACTIVITY_URL"];
      const interval_s = Number(
        env["JUPYTERHUB_ACTIVITY_INTERVAL"] ?? REPORT_S,
      );
      const isOff = url === undefined || url === "" || !(interval_s > 0);
      if (isService || isOff) return { [Symbol.dispose]() {} }; // the Hub knows only users' activity
      return reports({
        interval_ms: Math.max(interval_s, 1) * 1000,
        lastUse: () => lastUseOf(supervisor),
        send: (at) => sendActivity(env, url, at),
        log,
      });
    },
  };
}

function listenAddress(env: Environment): Pick<ServeOptions, "host" | "port"> {
  const url = env["JUPYTERHUB_SERVICE_URL"] ?? "";
  const [, scheme = "", host = "", port] =
    /^([a-z+]+):\/\/(\[[^\]]*\]|[^:/]*)(?::(\d+))?(?:\/|$)/.exec(url) ?? [];
  if (scheme === "https" || env["JUPYTERHUB_SSL_KEYFILE"] !== undefined) {
    throw new CommandError(
      "usage",
      "TLS between JupyterHub and this server is not supported",
      { hint: "Set c.JupyterHub.internal_ssl = False." },
    );
  }
  if (scheme !== "http") {
    throw new CommandError(
      "usage",
      `JUPYTERHUB_SERVICE_URL is not an address to listen on: ${url}`,
      {
        hint: "For a server of your own in JupyterHub's terminal: kallichore serve --port 0",
      },
    );
  }
  return {
    host: host.replace(/^\[(.*)\]$/, "$1") || "0.0.0.0", // no name: every address
    port: Number(port ?? 80),
  };
}

/** Kernels that name no directory start in the server's. */
function enterDirectory(path: string | undefined): void {
  if (path === undefined || path === "") return;
  try {
    process.chdir(path.replace(/^~(?=\/|$)/, homedir()));
  } catch (cause) {
    throw new CommandError(
      "usage",
      `JUPYTERHUB_ROOT_DIR is not a directory for kernels: ${whyOf(cause)}`,
      { cause },
    );
  }
}

/** The characters that a header may have. */
const TOKEN = /^[\x21-\x7e]{1,1024}$/;

/** The owner of a token, as the Hub describes it. */
const Owner = z.looseObject({ scopes: z.array(z.string()) });

function tokenCheck(
  env: Environment,
  log: Log,
): (token: string) => Promise<boolean> {
  const needed = accessScopes(env);
  /** By the token's digest, the oldest first. */
  const answers = new Map<
    string,
    { until: number; answer: Promise<boolean> }
  >();
  let open = 0;
  const ask = async (token: string): Promise<boolean> => {
    const response = await fetch(`${env["JUPYTERHUB_API_URL"]}/user`, {
      headers: { authorization: `token ${token}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.ok) {
      await response.body?.cancel();
      return false;
    }
    const owner = Owner.safeParse(await response.json());
    return owner.data?.scopes.some((held) => needed.has(held)) === true;
  };
  return (token) => {
    if (!TOKEN.test(token)) return Promise.resolve(false);
    const key = createHash("sha256").update(token).digest("hex");
    const known = answers.get(key);
    if (known !== undefined && known.until > performance.now()) {
      return known.answer;
    }
    answers.delete(key);
    if (open >= MOST_QUESTIONS) return Promise.resolve(false);
    open += 1;
    const kept = { until: Infinity, answer: Promise.resolve(false) };
    kept.answer = ask(token)
      .then(
        (isAccepted) => {
          const keep_ms = isAccepted ? ACCEPTED_MS : REFUSED_MS;
          kept.until = performance.now() + keep_ms;
          return isAccepted;
        },
        (error: unknown) => {
          kept.until = 0;
          log.warn(`JupyterHub cannot be asked about a token: ${whyOf(error)}`);
          return false;
        },
      )
      .finally(() => (open -= 1));
    answers.set(key, kept);
    const [oldest = ""] = answers.keys();
    if (answers.size > MOST_ANSWERS) answers.delete(oldest);
    return kept.answer;
  };
}

/** The scopes of which a client needs one. One without a filter contains those with one. */
function accessScopes(env: Environment): ReadonlySet<string> {
  const text =
    env["JUPYTERHUB_OAUTH_ACCESS_SCOPES"] ?? env["JUPYTERHUB_OAUTH_SCOPES"];
  const scopes = z.array(z.string()).parse(JSON.parse(text ?? "[]"));
  return new Set(scopes.flatMap((scope) => [scope, scope.replace(/!.*$/, "")]));
}

/** By the system's clock, in milliseconds. Code that runs is use. */
function lastUseOf({ sessions, started }: Supervisor): number {
  const isBusy = sessions.some(({ status }) => status === "busy");
  if (isBusy) return Date.now();
  const offset = Date.now() - performance.now();
  const uses = sessions.map(({ usedAt }) => usedAt + offset);
  return Math.max(started.getTime(), ...uses);
}

interface ReportOptions {
  readonly interval_ms: number;
  readonly lastUse: () => number;
  readonly send: (at: Date) => Promise<void>;
  readonly log: Log;
}

/** Sends the last use whenever it is a later one. */
function reports({ interval_ms, lastUse, send, log }: ReportOptions) {
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  let sent = -Infinity;
  let failures = 0;
  const report = async (): Promise<void> => {
    const at = lastUse();
    if (at - sent > CLOCK_MS) {
      try {
        await send(new Date(at));
        sent = at;
        failures = 0;
      } catch (error) {
        failures += 1;
        if (failures === 1) {
          log.warn(`JupyterHub cannot be told of activity: ${whyOf(error)}`);
        }
      }
    }
    if (isOver) return;
    const retry_ms = RETRY_S * 1000 * 2 ** (failures - 1);
    const usual_ms = interval_ms * (0.9 + Math.random() / 5); // not all servers at once
    const delay_ms = failures === 0 ? usual_ms : Math.min(retry_ms, usual_ms);
    timer = setTimeout(() => void report(), delay_ms); // never rejects
    timer.unref();
  };
  void report(); // never rejects
  return {
    [Symbol.dispose]() {
      isOver = true;
      clearTimeout(timer);
    },
  };
}

async function sendActivity(
  env: Environment,
  url: string,
  at: Date,
): Promise<void> {
  const last_activity = at.toISOString();
  const name = env["JUPYTERHUB_SERVER_NAME"] ?? "";
  const response = await fetch(url, {
    method: "POST",
    headers: {
      authorization: `token ${env["JUPYTERHUB_API_TOKEN"]}`,
      "content-type": "application/json",
    },
    body: JSON.stringify({
      last_activity,
      servers: { [name]: { last_activity } },
    }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`it answered ${response.status}`);
}
