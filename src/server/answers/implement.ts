/**
 * The types that connect an operation with its answer.
 *
 * `Answers` is derived from the contract: if an answer is missing or has another
 * shape, it does not compile. The doors are loops over operations and answers.
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

/** The arguments of an answer. */
export interface OperationCall<Input> {
  readonly input: Input;
  /** The parts of the input that go to the kernel as the client wrote them. */
  readonly unread: UnreadInput;
  readonly service: Service;
  /** The client that sent the request, and has the permission for it. */
  readonly by: Principal;
  /** Aborts when the client has left. What was begun is not undone. */
  readonly signal: AbortSignal;
}

type ParsedInput<O extends Operation> = OutputOf<O["input"]>;
/** A value that the output schema accepts. */
type AnswerValue<O extends Operation> = InputOf<O["output"]>;

export type AnswerTo<O extends Operation> = O["kind"] extends "subscription"
  ? (call: OperationCall<ParsedInput<O>>) => AsyncIterable<SubscriptionItem>
  : (
      call: OperationCall<ParsedInput<O>>,
    ) => AnswerValue<O> | Promise<AnswerValue<O>>;

/** Marks an answer that is not validated: it was made in the shape of the contract, and may be too large to validate. */
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
