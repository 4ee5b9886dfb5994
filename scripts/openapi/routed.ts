/** The operations that have a REST route, in the contract's order. */
import {
  contract,
  type Contract,
  type Method,
  type Operation,
  partsOf,
} from "../../contract/index.ts";

export interface Routed {
  /** The name in tRPC, such as `sessions.start`. */
  readonly procedure: string;
  /** The name as an identifier that generators do not change: `sessionsStart`. */
  readonly operationId: string;
  readonly group: string;
  readonly method: Method;
  readonly path: string;
  readonly operation: Operation;
}

export function routedOperations(): readonly Routed[] {
  return Object.entries(contract as Contract).flatMap(([group, operations]) =>
    Object.entries(operations).flatMap(([name, operation]) => {
      if (operation.route === undefined) return [];
      return [
        {
          procedure: `${group}.${name}`,
          operationId: toIdentifier(`${group}.${name}`),
          group,
          ...partsOf(operation.route),
          operation,
        },
      ];
    }),
  );
}

export function verbOf(method: Method): Lowercase<Method> {
  return method.toLowerCase() as Lowercase<Method>;
}

function toIdentifier(procedure: string): string {
  return procedure.replace(/[._](\w)/g, (_, letter: string) =>
    letter.toUpperCase(),
  );
}
