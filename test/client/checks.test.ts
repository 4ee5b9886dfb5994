/** The client's checks, which a page loads instead of zod, accept the same values as the contract. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as checks from "../../client/checks.ts";
import { contents } from "../../contract/contents.ts";
import { SessionEvent } from "../../contract/messages.ts";

/** A valid event of each kind, with all optional members. */
const examples: Readonly<Record<string, unknown>> = {
  status: { seq: 1, status: "idle", reason: null },
  exited: { seq: 1, exit_code: -1, signal: "SIGKILL", output: "" },
  output: { seq: 1, stream: "stdout", text: "a" },
  resource_usage: {
    seq: 1,
    usage: {
      cpu_percent: 1,
      memory_bytes: 1,
      thread_count: 1,
      sampling_period_ms: 1,
      timestamp: 1,
    },
  },
  working_directory: { seq: 1, path: "/" },
  execution: {
    seq: 3,
    execution_id: "a",
    state: "done",
    reason: "deadline",
    first_seq: 1,
    last_seq: 3,
  },
  execution_requested: {
    seq: 1,
    msg_id: "a",
    code: "1",
    code_length: 1,
    code_is_clipped: false,
    requested_at: "2026-01-01",
    attribution: {
      source: "agent",
      agent_name: null,
      agent_version: "1",
      workspace_id: "",
      tool: "execute_code",
    },
  },
  handshake: {
    seq: 1,
    session_id: "a",
    connection: {
      control_port: 1,
      shell_port: 2,
      stdin_port: 3,
      hb_port: 4,
      iopub_port: 65_535,
      signature_scheme: "hmac-sha256",
      key: "",
      transport: "tcp",
      ip: "127.0.0.1",
    },
  },
  refused: {
    seq: 1,
    channel: "iopub",
    msg_type: null,
    reason: "too_deep",
    size: 5,
    parent_id: "a",
  },
  gap: { seq: 5, from: 1, to: 4 },
  journal: { seq: 0, journal_id: "a", previous_journal_id: "b" },
};

const bundle = { data: { "text/plain": "1" }, metadata: {} };
const exampleContents: Readonly<Record<string, unknown>> = {
  status: { execution_state: "idle" },
  stream: { name: "stdout", text: "a" },
  display_data: { ...bundle, transient: { display_id: "a" } },
  update_display_data: { ...bundle, transient: { display_id: "a" } },
  execute_result: { ...bundle, execution_count: 1, transient: {} },
  error: { ename: "E", evalue: "e", traceback: ["1"] },
  execute_input: { code: "1", execution_count: 1 },
  clear_output: { wait: true },
  input_request: { prompt: "", password: true },
  comm_open: { comm_id: "a", target_name: "t", data: 1 },
  comm_msg: { comm_id: "a", data: {} },
  comm_close: { comm_id: "a", data: null },
  execute_reply: {
    status: "ok",
    execution_count: 1,
    ename: "E",
    evalue: "e",
    traceback: ["1"],
    user_expressions: {},
    payload: [{}],
  },
  complete_reply: {
    status: "ok",
    matches: ["a"],
    cursor_start: 0,
    cursor_end: 1,
    metadata: {},
  },
  inspect_reply: { status: "ok", found: true, ...bundle },
  is_complete_reply: { status: "complete", indent: "" },
  history_reply: { status: "ok", history: [[1, 2, "a"]] },
  comm_info_reply: { status: "ok", comms: { a: { target_name: "t" } } },
  kernel_info_reply: {
    status: "ok",
    protocol_version: "5.3",
    implementation: "i",
    implementation_version: "1",
    language_info: {
      name: "python",
      version: "3",
      mimetype: "text/x-python",
      file_extension: ".py",
    },
    banner: "",
    help_links: [{ text: "a", url: "b" }],
    supported_features: ["debugger"],
  },
  interrupt_reply: { status: "ok" },
  shutdown_reply: { status: "ok", restart: false },
};

/** JSON values of every type, as a server may send them. */
const wrong = [null, 0, -1, 1.5, 2 ** 60, true, "", "x", [], [1], {}, { a: 1 }];

/** The value, and all values that differ from it in one member, at any depth. */
function* variants(value: unknown): Generator {
  yield value;
  yield* wrong;
  if (typeof value !== "object" || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    for (const other of variants(member)) {
      yield Array.isArray(value)
        ? value.map((one: unknown, at) => (String(at) === key ? other : one))
        : { ...value, [key]: other };
    }
    if (Array.isArray(value)) continue;
    yield Object.fromEntries(
      Object.entries(value).filter(([name]) => name !== key),
    );
  }
  if (!Array.isArray(value)) yield { ...value, more: 1 };
}

/** Members for which the contract has a default. The client passes on what the server sent, so the server must send them. */
const FILLED = ["signature_scheme", "transport"];

function lacksFilled(value: unknown): boolean {
  const { connection } = (value ?? {}) as { connection?: object };
  return FILLED.some(
    (name) =>
      (connection as Record<string, unknown> | undefined)?.[name] === undefined,
  );
}

describe("an event", () => {
  it.each(SessionEvent.options.map((option) => option.shape.kind.value))(
    "%s is accepted exactly if the contract accepts it",
    (kind) => {
      if (kind === "jupyter") {
        expect(Object.keys(checks.events)).not.toContain(kind);
        return;
      }
      const example = { kind, ...(examples[kind] as object) };
      expect(SessionEvent.safeParse(example).success).toBe(true);
      for (const variant of variants(examples[kind])) {
        if (typeof variant !== "object" || Array.isArray(variant)) continue;
        const value = { ...variant, kind };
        const expected = SessionEvent.safeParse(value);
        if (expected.data?.kind === "handshake" && lacksFilled(value)) {
          expect(checks.events[kind](value)).toBe(false);
        } else {
          expect(checks.events[kind](value), JSON.stringify(value)).toBe(
            expected.success,
          );
        }
      }
    },
  );
});

describe("a message's content", () => {
  const types = Object.keys(contents) as (keyof typeof contents)[];

  it.each(types)(
    "of %s is accepted exactly if the contract accepts it",
    (type) => {
      expect(contents[type].safeParse(exampleContents[type]).success).toBe(
        true,
      );
      for (const value of variants(exampleContents[type])) {
        expect(checks.contents[type](value), JSON.stringify(value)).toBe(
          contents[type].safeParse(value).success,
        );
      }
    },
  );

  it.each(types)("of %s is checked like the contract for any JSON", (type) => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(checks.contents[type](value)).toBe(
          contents[type].safeParse(value).success,
        );
      }),
      { numRuns: 50 },
    );
  });
});
