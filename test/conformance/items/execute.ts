/** Code in one request and one answer, as in later versions of Kallichore: `POST /sessions/{id}/execute`. */
import { at, equal, holds, keys, list, shown, text } from "../harness/check.ts";
import { group as outline } from "../harness/item.ts";
import type { Answer } from "../harness/request.ts";
import type { Server } from "../harness/server.ts";
import { Session } from "../harness/session.ts";

interface World {
  readonly server: Server;
  readonly session: Session;
}

const LATER = "Kallichore after 0.1.64";

export const group = outline<World>({
  id: "EXEC",
  open: async (ground) => {
    const server = await ground.start();
    return { server, session: await Session.started(server) };
  },
  items: [
    {
      id: "EXEC-01",
      claim:
        "printed text is in `output`, in order, and status is ok with an execution_count",
      source: LATER,
      mark: "mended",
      run: async ({ session }) => {
        const answer = await execute(session, { code: "print one\nprint two" });
        equal(answer.status, 200, shown(answer.text));
        equal(at(answer.body, "status"), "ok", "status");
        holds(Number(at(answer.body, "execution_count")) >= 1, "no count");
        const outputs = list(at(answer.body, "output"));
        equal(
          outputs.map((output) => at(output, "type")),
          outputs.map(() => "stream"),
          "types",
        );
        holds(outputs.length > 0, "no output");
        equal(at(outputs[0], "stream_name"), "stdout", "stream_name");
        const whole = outputs
          .map((output) => text(at(output, "text")))
          .join("");
        holds(/one[^]*two/.test(whole), `text: ${shown(whole)}`);
        holds(!keys(answer.body).includes("data"), "data without a result");
      },
    },
    {
      id: "EXEC-02",
      claim: "the result is `data`, by MIME type, and is not in `output`",
      source: LATER,
      mark: "mended",
      run: async ({ session }) => {
        const { body } = await execute(session, { code: "pid" });
        const pid = String(await session.pid());
        equal(at(body, "data", "text/plain"), pid, "data");
        equal(at(body, "output"), [], "output");
      },
    },
    {
      id: "EXEC-03",
      claim:
        "an error is 200 with status error, its name, message and traceback, and one output of type error",
      source: LATER,
      mark: "mended",
      run: async ({ session }) => {
        const { status, body } = await execute(session, { code: "error no" });
        equal([status, at(body, "status")], [200, "error"], "status");
        holds(text(at(body, "error_name")) !== "", "no error_name");
        equal(typeof at(body, "error_message"), "string", "error_message");
        holds(Array.isArray(at(body, "error_traceback")), "error_traceback");
        const [error] = list(at(body, "output"));
        equal(at(error, "type"), "error", "type of the output");
        equal(at(error, "error_name"), at(body, "error_name"), "its name");
      },
    },
    {
      id: "EXEC-04",
      claim:
        "timeout_seconds: 408 with the code timeout, and the kernel is interrupted and idle",
      source: LATER,
      mark: "mended",
      run: async ({ session }) => {
        const call = { code: "sleep 60", timeout_seconds: 1 };
        const late = await execute(session, call);
        equal(late.status, 408, shown(late.text));
        equal(at(late.body, "code"), "timeout", "code");
        const { body } = await execute(session, { code: "pid" });
        equal(at(body, "status"), "ok", "the next one");
      },
    },
    {
      id: "EXEC-05",
      claim:
        "for an unknown session 404; for one without a kernel a failure, without a wait",
      source: LATER,
      mark: "mended",
      run: async ({ server }) => {
        const code = { code: "pid" };
        const nobody = new Session(server, "nobody");
        equal((await execute(nobody, code)).status, 404, "nobody's");
        const unstarted = await Session.create(server);
        const answer = await execute(unstarted, code);
        equal(answer.status, 400, `never started, ${shown(answer.text)}`);
        holds(text(at(answer.body, "message")) !== "", "no message");
      },
    },
    {
      id: "EXEC-06",
      claim:
        "the owner of the channel gets the messages as for any execution, and is not displaced",
      source: LATER,
      mark: "mended",
      run: async ({ session }) => {
        const channel = await session.channel();
        await execute(session, { code: "print heard" });
        await channel.waitFor("its stream", (frame) =>
          text(at(frame.body, "content", "text")).includes("heard"),
        );
        holds(channel.isOpen(), "the channel was closed");
        await channel.close();
      },
    },
  ],
});

function execute(session: Session, body: unknown): Promise<Answer> {
  return session.post("execute", { body, timeout_ms: 20_000 });
}
