import { Cell } from "./cell.tsx";
import { useSession } from "./use-session.ts";

/** One session, and one cell to run code in it. */
export function App({ url }: { readonly url: string }) {
  const { session, connection, failure } = useSession(url);
  return (
    <main>
      <h1>A kernel in a page</h1>
      {failure !== undefined && <p role="alert">{failure.message}</p>}
      {session === undefined ? (
        failure === undefined && <p>Starting a kernel…</p>
      ) : (
        <Cell session={session} />
      )}
      <footer>
        Connection: <output aria-label="connection">{connection}</output>
      </footer>
    </main>
  );
}
