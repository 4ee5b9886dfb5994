import {
  type ConnectionState,
  createClient,
  type Session,
} from "kallichore/client";
import { useEffect, useState } from "react";

interface Seen {
  /** Once its kernel has answered. */
  readonly session?: Session;
  readonly connection: ConnectionState;
  /** Why there is no session. */
  readonly failure?: Error;
}

/** A session with the server's default kernel, for as long as the component is there. */
export function useSession(url: string): Seen {
  const [seen, setSeen] = useState<Seen>({ connection: "idle" });
  useEffect(() => {
    const client = createClient({ url });
    let isWanted = true;
    const see = (news: Partial<Seen>) => {
      if (isWanted) setSeen((before) => ({ ...before, ...news }));
    };
    const unsubscribe = client.connection.subscribe((connection) =>
      see({ connection }),
    );
    const starting = client.start();
    starting.then(
      (session) => see({ session }),
      (failure: Error) => see({ failure }),
    );
    return () => {
      isWanted = false;
      unsubscribe();
      setSeen({ connection: "idle" });
      // Also where the component goes while the kernel still starts.
      void starting
        .then((session) => session[Symbol.asyncDispose]())
        .catch(() => {}) // it did not start, and `failure` said so; or the server is gone
        .finally(() => client.close());
    };
  }, [url]);
  return seen;
}
