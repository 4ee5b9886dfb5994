/** Every door that serves the sessions, whatever listens before them. The first that serves an address answers it. */
import { answers } from "../answers/answers.ts";
import { routerOf } from "../answers/router.ts";
import type { Service } from "../answers/service.ts";
import type { Door } from "../door.ts";
import type { AppRouter } from "../../../contract/index.ts";
import { channelsDoor, type OpenSessionSocket } from "./channels/door.ts";
import { restDoor } from "./rest/rest.ts";
import { trpcDoor } from "./trpc/trpc.ts";

export interface DoorOptions {
  /** Default: every operation of the contract, as the server answers it. */
  readonly router?: AppRouter | undefined;
  /** Opens a session's own socket, where the server is reached by one. */
  readonly openSessionSocket?: OpenSessionSocket | undefined;
}

export function doorsOf(
  service: Service,
  { router = routerOf(answers), openSessionSocket }: DoorOptions = {},
): readonly Door[] {
  return [
    trpcDoor(router, service),
    channelsDoor(service, openSessionSocket),
    restDoor(router, service),
  ];
}
