/**
 * Restores the sessions of an earlier server, a few at a time: reading long journals
 * again takes the processor, and clients are answered meanwhile.
 */
import { within } from "../time/within.ts";

/** A session that waits for its turn. */
export interface WaitingSession {
  /** Begins. */
  begin(): void;
  /** Resolves when it is restored. Never rejects. */
  readonly restored: Promise<void> | undefined;
}

/** How many are restored at the same time. */
const AT_ONCE = 4;
/** After this time the next one begins beside one that takes longer, such as one whose keeper does not answer. */
const TURN_MS = 500;

/** Resolves when all have begun. Never rejects. */
export async function restoreInTurn(
  sessions: readonly WaitingSession[],
): Promise<void> {
  const waiting = sessions.values();
  const next = async (): Promise<void> => {
    for (const session of waiting) {
      session.begin();
      await within(session.restored ?? Promise.resolve(), TURN_MS);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
}
