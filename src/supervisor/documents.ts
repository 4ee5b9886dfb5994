/**
 * Documents of Jupyter's clients, each with the session whose kernel it uses.
 * Jupyter calls such a pair a session. Several documents may share a kernel.
 */
import { randomUUID } from "node:crypto";
import type { Session } from "../session/session.ts";

export interface Document {
  readonly id: string;
  /** The client's path of the document; it need not exist on disk. */
  path: string;
  name: string;
  /** `notebook`, `console`, `file`, … */
  type: string;
  session: Session;
}

export class Documents {
  readonly #documents = new Map<string, Document>();

  /** In the order in which they were added; those whose kernel was shut down are left out. */
  get all(): readonly Document[] {
    return [...this.#documents.values()].filter(
      ({ session }) => !session.isStopped,
    );
  }

  get(id: string): Document | undefined {
    const document = this.#documents.get(id);
    return document?.session.isStopped === true ? undefined : document;
  }

  add(document: Omit<Document, "id">): Document {
    const added = { id: randomUUID(), ...document };
    this.#documents.set(added.id, added);
    return added;
  }

  remove(id: string): void {
    this.#documents.delete(id);
  }

  /** Removes the documents of a session that is deleted. */
  removeOf(session: Session): void {
    for (const [id, document] of this.#documents) {
      if (document.session === session) this.#documents.delete(id);
    }
  }

  hasOf(session: Session): boolean {
    return this.all.some((document) => document.session === session);
  }
}
