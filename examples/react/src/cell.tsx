import type { Execution, ExecutionEvent, Session } from "kallichore/client";
import { type FormEvent, useState } from "react";

type InputRequest = Extract<ExecutionEvent, { type: "input_request" }>;

/** A cell: code, its output while it runs, and a field to answer its input request. */
export function Cell({ session }: { readonly session: Session }) {
  const [code, setCode] = useState("count()");
  const [running, setRunning] = useState<Execution>();
  const [events, setEvents] = useState<readonly ExecutionEvent[]>([]);
  const [request, setRequest] = useState<InputRequest>();
  const [failure, setFailure] = useState<Error>();

  async function run() {
    const execution = session.execute(code);
    setRunning(execution);
    setEvents([]);
    setFailure(undefined);
    try {
      for await (const event of execution) {
        if (event.type === "input_request") setRequest(event);
        setEvents((before) => [...before, event]);
      }
    } catch (error) {
      setFailure(error as Error);
    }
    setRunning(undefined);
    setRequest(undefined);
  }

  function answer(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const text = new FormData(event.currentTarget).get("answer");
    setRequest(undefined);
    running?.answer(String(text)).catch(setFailure);
  }

  return (
    <section>
      <textarea
        aria-label="code"
        rows={3}
        value={code}
        onChange={(event) => setCode(event.target.value)}
      />
      <button disabled={running !== undefined} onClick={() => void run()}>
        Run
      </button>
      <button
        disabled={running === undefined}
        onClick={() => void running?.interrupt().catch(setFailure)}
      >
        Interrupt
      </button>
      <pre role="log" aria-label="output" aria-busy={running !== undefined}>
        {events.map((event) => (
          <Output key={event.seq} event={event} />
        ))}
      </pre>
      {request !== undefined && (
        <form onSubmit={answer}>
          <label>
            {request.prompt}
            <input
              name="answer"
              type={request.password ? "password" : "text"}
              autoFocus
            />
          </label>
        </form>
      )}
      {failure !== undefined && <p role="alert">{failure.message}</p>}
    </section>
  );
}

function Output({ event }: { readonly event: ExecutionEvent }) {
  switch (event.type) {
    case "stream":
      return <span className={event.name}>{event.text}</span>;
    case "display_data":
    case "execute_result":
      return <span>{`${String(event.data["text/plain"])}\n`}</span>;
    case "error":
      return <span className="error">{`${event.traceback.join("\n")}\n`}</span>;
    case "gap":
      return <span className="error">{"… some output is missing …\n"}</span>;
    default:
      return null;
  }
}
