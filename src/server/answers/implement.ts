/**
 * An operation and its answer, side by side.
 *
 * `Answers` is derived from the contract: forget an answer, or give one of
 * another shape, and it does not compile. The doors are loops over both.
 */
import type {
  contract,
  InputOf,
  Operation,
  OutputOf,
} from "../../../contract/index.ts";
import type { UnreadInput } from "./client-input.ts";
import type { Principal } from "../../session/principal.ts";
import type { Service } from "./service.ts";
import type { SubscriptionItem } from "./subscription.ts";

/** What an answer is given. */
export interface OperationCall<Input> {
  readonly input: Input;
  /** What of the input goes to the kernel as the client wrote it. */
  readonly unread: UnreadInput;
  readonly service: Service;
  /** Who asks. It may ask this. */
  readonly by: Principal;
  /** Aborts when whoever asked is gone. What was begun is not undone. */
  readonly signal: AbortSignal;
}

type ParsedInput<O extends Operation> = OutputOf<O["input"]>;
/** What the output schema accepts. */
type AnswerValue<O extends Operation> = InputOf<O["output"]>;

export type AnswerTo<O extends Operation> = O["kind"] extends "subscription"
  ? (call: OperationCall<ParsedInput<O>>) => AsyncIterable<SubscriptionItem>
  : (
      call: OperationCall<ParsedInput<O>>,
    ) => AnswerValue<O> | Promise<AnswerValue<O>>;

/** The answer, which need not be checked: it was made in the shape that the contract promises, and may be too large for a second look. */
export function trustShape<A extends object>(answer: A): A {
  trusted.add(answer);
  return answer;
}

export function hasTrustedShape(answer: unknown): boolean {
  return trusted.has(answer as object);
}

const trusted = new WeakSet<object>();

export type AnswersTo<Group extends Record<string, Operation>> = {
  readonly [Name in keyof Group]: AnswerTo<Group[Name]>;
};

export type Answers = {
  readonly [Group in keyof typeof contract]: AnswersTo<
    (typeof contract)[Group]
  >;
};
