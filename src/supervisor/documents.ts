/**
 * Documents of Jupyter's clients, each with the session whose kernel it uses.
 * Jupyter calls such a pair a session. Several documents may share a kernel.
 */
import { randomUUID } from "node:crypto";
import type { Session } from "../session/session.ts";
import type { SavedDocument } from "../session/store.ts";

export interface Document extends SavedDocument {
  readonly session: Session;
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
    this.#save(added.session);
    return added;
  }

  /** Gives the document another name or another session. */
  change(document: Document, change: Partial<Omit<Document, "id">>): Document {
    const changed = { ...document, ...change };
    this.#documents.set(changed.id, changed);
    this.#save(document.session);
    this.#save(changed.session);
    return changed;
  }

  remove(id: string): void {
    const document = this.#documents.get(id);
    this.#documents.delete(id);
    if (document !== undefined) this.#save(document.session);
  }

  /** Takes over the documents of a session that an earlier server kept. */
  restore(session: Session): void {
    for (const saved of session.documents) {
      this.#documents.set(saved.id, { ...saved, session });
    }
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

  #save(session: Session): void {
    session.documents = [...this.#documents.values()]
      .filter((document) => document.session === session)
      .map(({ id, path, name, type }) => ({ id, path, name, type }));
  }
}
