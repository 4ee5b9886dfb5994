import type { Execution, ExecutionEvent, Session } from "kallichore/client";
import { type FormEvent, useState } from "react";

type Question = Extract<ExecutionEvent, { type: "input_request" }>;

/** Code, what it says while it runs, and an answer where it asks. */
export function Cell({ session }: { readonly session: Session }) {
  const [code, setCode] = useState("count()");
  const [running, setRunning] = useState<Execution>();
  const [said, setSaid] = useState<readonly ExecutionEvent[]>([]);
  const [question, setQuestion] = useState<Question>();
  const [failure, setFailure] = useState<Error>();

  async function run() {
    const execution = session.execute(code);
    setRunning(execution);
    setSaid([]);
    setFailure(undefined);
    try {
      for await (const event of execution) {
        if (event.type === "input_request") setQuestion(event);
        setSaid((before) => [...before, event]);
      }
    } catch (error) {
      setFailure(error as Error);
    }
    setRunning(undefined);
    setQuestion(undefined);
  }

  function answer(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const text = new FormData(event.currentTarget).get("answer");
    setQuestion(undefined);
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
        {said.map((event) => (
          <Said key={event.seq} event={event} />
        ))}
      </pre>
      {question !== undefined && (
        <form onSubmit={answer}>
          <label>
            {question.prompt}
            <input
              name="answer"
              type={question.password ? "password" : "text"}
              autoFocus
            />
          </label>
        </form>
      )}
      {failure !== undefined && <p role="alert">{failure.message}</p>}
    </section>
  );
}

function Said({ event }: { readonly event: ExecutionEvent }) {
  switch (event.type) {
    case "stream":
      return <span className={event.name}>{event.text}</span>;
    case "display_data":
    case "execute_result":
      return <span>{`${String(event.data["text/plain"])}\n`}</span>;
    case "error":
      return <span className="error">{`${event.traceback.join("\n")}\n`}</span>;
    case "gap":
      return <span className="error">{"… some of it is lost …\n"}</span>;
    default:
      return null;
  }
}
