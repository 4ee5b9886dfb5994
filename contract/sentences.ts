/** The error messages that the client also makes by itself, without the server. */
export interface InSession {
  session_id: string;
}
export interface SessionProblem extends InSession {
  why: string;
}

export const kernelExited = ({ session_id, why }: SessionProblem) =>
  `The kernel of session ${session_id} exited (${why}) before it answered`;

export const sessionReplaced = ({ session_id, why }: SessionProblem) =>
  `Session ${session_id} is a new one with a new journal (the server was restarted, or the session was deleted and created again): ${why}`;

export const noAnswer = ({ session_id, why }: SessionProblem) =>
  `The kernel of session ${session_id} did not answer ${why}`;

export const unauthorized = () =>
  "The token is missing or wrong: send `Authorization: Bearer <token>`";

export const sessionNotFound = ({ session_id }: InSession) =>
  `There is no session ${session_id}`;
