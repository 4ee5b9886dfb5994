import {
  type ConnectionState,
  createClient,
  type Session,
} from "kallichore/client";
import { useEffect, useState } from "react";

interface SessionState {
  /** Defined when its kernel has answered. */
  readonly session?: Session;
  readonly connection: ConnectionState;
  /** Why there is no session. */
  readonly failure?: Error;
}

/** A session with the server's default kernel. It ends when the component is unmounted. */
export function useSession(url: string): SessionState {
  const [state, setState] = useState<SessionState>({ connection: "idle" });
  useEffect(() => {
    const client = createClient({ url });
    let isMounted = true;
    const update = (change: Partial<SessionState>) => {
      if (isMounted) setState((before) => ({ ...before, ...change }));
    };
    const unsubscribe = client.connection.subscribe((connection) =>
      update({ connection }),
    );
    const starting = client.start();
    starting.then(
      (session) => update({ session }),
      (failure: Error) => update({ failure }),
    );
    return () => {
      isMounted = false;
      unsubscribe();
      setState({ connection: "idle" });
      // The kernel may still be starting when the component is unmounted.
      void starting
        .then((session) => session[Symbol.asyncDispose]())
        .catch(() => {}) // the kernel did not start, which `failure` has reported, or the server is gone
        .finally(() => client.close());
    };
  }, [url]);
  return state;
}
