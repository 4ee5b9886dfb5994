/** The doors that serve the sessions. The first that serves an address answers it. */
import { answers } from "../answers/answers.ts";
import { routerOf } from "../answers/router.ts";
import type { Service } from "../answers/service.ts";
import type { Door } from "../door.ts";
import type { AppRouter } from "../../../contract/index.ts";
import { channelsDoor, type OpenSessionSocket } from "./channels/door.ts";
import { jupyterDoor } from "./jupyter/door.ts";
import { restDoor } from "./rest/rest.ts";
import { trpcDoor } from "./trpc/trpc.ts";

export interface DoorOptions {
  /** Default: the server's answers to all operations of the contract. */
  readonly router?: AppRouter | undefined;
  /** Opens a session's own socket, if the server listens on a socket. */
  readonly openSessionSocket?: OpenSessionSocket | undefined;
}

export function doorsOf(
  service: Service,
  { router = routerOf(answers), openSessionSocket }: DoorOptions = {},
): readonly Door[] {
  return [
    trpcDoor(router, service),
    channelsDoor(service, openSessionSocket),
    jupyterDoor(service),
    restDoor(router, service),
  ];
}
