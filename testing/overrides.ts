/**
 * Replaces the answers of single operations, typed by the contract. An override
 * gets the input, can call the real operation, and can throw a `failure` of the
 * contract.
 */
import {
  contract,
  type Contract,
  isReason,
  type InputOf,
  type Operation,
  type OutputOf,
  type SessionEvent,
  SupervisorError,
} from "../contract/index.ts";
import type {
  Answers,
  OperationCall,
} from "../src/server/answers/implement.ts";
import { Entries } from "../src/journal/entries.ts";
import { Entry } from "../src/journal/entry.ts";
import type { SubscriptionItem } from "../src/server/answers/subscription.ts";

export type Overrides = {
  readonly [G in keyof typeof contract]?: {
    readonly [
      N in keyof (typeof contract)[G]
    ]?: (typeof contract)[G][N] extends infer O extends Operation
      ? Override<O>
      : never;
  };
};

type Override<O extends Operation> = O["kind"] extends "subscription"
  ? (
      input: OutputOf<O["input"]>,
    ) => AsyncIterable<SessionEvent> | Iterable<SessionEvent>
  : (
      input: OutputOf<O["input"]>,
      /** Calls the real operation. */
      real: () => Promise<InputOf<O["output"]>>,
    ) => InputOf<O["output"]> | Promise<InputOf<O["output"]>>;

type AnyAnswer = (call: OperationCall<unknown>) => unknown;
type AnyOverride = (input: unknown, real: () => Promise<unknown>) => unknown;

export function withOverrides(answers: Answers, overrides: Overrides): Answers {
  const groups = Object.entries(
    answers as unknown as Record<string, Record<string, AnyAnswer>>,
  ).map(([group, members]) => {
    const others = (overrides as Record<string, Record<string, AnyOverride>>)[
      group
    ];
    const operations = Object.entries(members).map(([name, answer]) => {
      const override = others?.[name];
      if (override === undefined) return [name, answer] as const;
      const { kind } = (contract as Contract)[group]?.[name] ?? {};
      const isSubscription = kind === "subscription";
      return [name, withOverride(answer, override, isSubscription)] as const;
    });
    return [group, Object.fromEntries(operations)] as const;
  });
  // The loop loses the types. The type `Overrides` has checked that each override matches its operation.
  return Object.fromEntries(groups) as unknown as Answers;
}

function withOverride(
  answer: AnyAnswer,
  override: AnyOverride,
  isSubscription: boolean,
): AnyAnswer {
  const real = (call: OperationCall<unknown>) => () =>
    Promise.resolve(answer(call));
  if (isSubscription) {
    return (call) =>
      subscription(
        override(call.input, real(call)) as AsyncIterable<SessionEvent>,
      );
  }
  return async (call) => {
    try {
      return await override(call.input, real(call));
    } catch (error) {
      throw toOwnFailure(error);
    }
  };
}

/** Converts a failure that another copy of this package made, such as the Node entry, to a failure of this copy. */
function toOwnFailure(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof SupervisorError) {
    return error;
  }
  const { reason, details, startup } = error as Partial<SupervisorError>;
  return isReason(reason)
    ? new SupervisorError(reason, error.message, {
        details,
        startup,
        cause: error,
      })
    : error;
}

async function* subscription(
  events: AsyncIterable<SessionEvent> | Iterable<SessionEvent>,
): AsyncGenerator<SubscriptionItem> {
  for await (const event of events) {
    const { seq, kind } = event;
    const json = Buffer.from(JSON.stringify(event));
    const entries = Entries.of(Entry.ofEncodedEvent(seq, kind, json));
    yield { journal_id: undefined, reading: { entries } };
  }
}
