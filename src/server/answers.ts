/** Every operation of the contract, answered. */
import type { Answers } from "./implement.ts";
import { kernelspecs } from "./kernelspecs.ts";
import { server } from "./server.ts";
import { sessions } from "./sessions.ts";

export const answers: Answers = { sessions, kernelspecs, server };
