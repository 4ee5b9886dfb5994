/** The sentences that a client says too, without the server. */
export interface InSession {
  session_id: string;
}
export interface Because extends InSession {
  why: string;
}

export const kernelExited = ({ session_id, why }: Because) =>
  `The kernel of session ${session_id} exited (${why}) before it answered`;

export const sessionReplaced = ({ session_id, why }: Because) =>
  `Session ${session_id} is a new one, with another journal than before (its server was started again, or it was deleted and made anew): ${why}`;

export const noAnswer = ({ session_id, why }: Because) =>
  `The kernel of session ${session_id} did not answer ${why}`;

export const unauthorized = () =>
  "This needs the server's token, as the header `Authorization: Bearer <token>`";

export const sessionNotFound = ({ session_id }: InSession) =>
  `There is no session ${session_id}`;
