/**
 * A front end at work on a notebook with pictures and widgets, through the
 * client: the same for a real Python and for the replay of its recording.
 */
import type { Message, Session, SessionEvent } from "../../client/index.ts";

/**
 * Runs the whole visit. Returns all events of the session, from its first one.
 * `newId` makes the ids of the two comms that the front end opens.
 */
export async function visit(
  session: Session,
  newId: () => string,
): Promise<SessionEvent[]> {
  const listening = new AbortController();
  const log = new EventLog();
  const { signal } = listening;
  const reading = log
    .read(session.events({ after: 0, signal }))
    .catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  const run = async (code: string, more: object = {}) => {
    const content = { ...EXECUTE, code, ...more };
    const { msg_id } = await session.send({
      msg_type: "execute_request",
      content,
    });
    await log.end(msg_id);
    return msg_id;
  };
  const say = async (
    msg_type: string,
    content: Record<string, unknown>,
    buffers: readonly Uint8Array[] = [],
  ) => {
    const { msg_id } = await session.send({
      msg_type,
      content,
      metadata: { version: "1.0.0" }, // the version of the widgets' control comm
      buffers,
    });
    await log.idle(msg_id);
  };
  const ask = async (msg_type: string, content: Record<string, unknown>) => {
    const { msg_id } = await session.send({ msg_type, content });
    await log.end(msg_id);
  };

  await ask("comm_info_request", { target_name: "jupyter.widget" });
  await run("1", { silent: true, store_history: false });
  await run(PICTURE);
  await run(PROGRESS);
  await run(DISPLAYS);

  await ask("complete_request", { code: "impor", cursor_pos: 5 });
  await ask("inspect_request", {
    code: "len",
    cursor_pos: 3,
    detail_level: 0,
  });
  await ask("is_complete_request", { code: "if True:" });
  await ask("history_request", {
    hist_access_type: "tail",
    n: 1,
    output: false,
    raw: true,
  });

  await run(INTERACT);
  const slider = log.model("IntSliderModel");
  for (const value of [5, 7]) {
    await say("comm_msg", {
      comm_id: slider,
      data: { method: "update", state: { value }, buffer_paths: [] },
    });
  }
  await run(IMAGE);
  await say(
    "comm_msg",
    {
      comm_id: log.model("ImageModel"),
      data: { method: "update", state: {}, buffer_paths: [["value"]] },
    },
    [new Uint8Array([7, 0, 255])],
  );
  await run(CAPTURE);

  await run(MIRROR);
  const [mirror, control] = [newId(), newId()];
  const target_name = "jupyter.widget.control";
  await say("comm_open", { comm_id: control, target_name, data: {} });
  await say("comm_open", { comm_id: mirror, target_name: "mirror", data: {} });
  await say("comm_msg", {
    comm_id: control,
    data: { method: "request_states" },
  });
  await say("comm_msg", { comm_id: mirror, data: { n: 1 } }, [
    new Uint8Array([1, 2, 3]),
    new Uint8Array(),
  ]);
  await run("mirrored.send({'from': 'a cell'})");
  await ask("comm_info_request", { target_name: "mirror" });
  await say("comm_close", { comm_id: mirror, data: {} });

  await run("def fail():\n    return 1 / 0\nfail()");
  await run("6 * 7", { user_expressions: { twice: "2 * 21" } });

  const asking = await session.send({
    msg_type: "execute_request",
    content: { ...EXECUTE, code: "print('Hello', input('Name? '))" },
  });
  const prompt = await log.until(
    "the prompt",
    ({ header, parent_header }) =>
      header.msg_type === "input_request" &&
      parent_header?.msg_id === asking.msg_id,
  );
  await session.send({
    channel: "stdin",
    msg_type: "input_reply",
    content: { status: "ok", value: "Ada" },
    parent_header: prompt.header,
  });
  await log.end(asking.msg_id);

  const sleeping = await session.send({
    msg_type: "execute_request",
    content: { ...EXECUTE, code: SLEEP },
  });
  await log.stream("asleep");
  await session.interrupt();
  await log.end(sleeping.msg_id);

  await run(THREAD);
  await log.stream("from a thread");
  await ask("kernel_info_request", {});

  listening.abort();
  await reading;
  return log.events;
}

const EXECUTE = {
  silent: false,
  store_history: true,
  user_expressions: {},
  allow_stdin: true,
  stop_on_error: true,
};

const PICTURE = `
import matplotlib.pyplot as plt
plt.figure(figsize=(0.5, 0.5), dpi=40)
plt.axis("off")
plt.plot([0, 1])
plt.show()`;

const PROGRESS = `
import time
from IPython.display import clear_output, display
for done in range(3):
    clear_output(wait=True)
    print(f"{done + 1}/3")
    time.sleep(0.01)`;

const DISPLAYS = `
handle = display({"text/plain": "one"}, raw=True, display_id="shown")
handle.update({"text/plain": "two"}, raw=True)`;

const INTERACT = `
import ipywidgets as widgets
@widgets.interact(x=widgets.IntSlider(3, description="x"))
def square(x):
    print(x * x)
    return {"x": x}`;

const IMAGE = `
image = widgets.Image(value=b"\\x00\\x01\\xff", format="png")
image.observe(lambda change: print(list(change["new"])), "value")
image`;

const CAPTURE = `
captured = widgets.Output()
display(captured)
with captured:
    print("captured")`;

const MIRROR = `
def opened(comm, message):
    global mirrored
    mirrored = comm
    def mirror(message):
        comm.send(
            {"got": message["content"]["data"]},
            metadata={"a": 1},
            buffers=[bytes(buffer)[::-1] for buffer in message["buffers"]],
        )
    comm.on_msg(mirror)
get_ipython().kernel.comm_manager.register_target("mirror", opened)`;

const SLEEP = `
print("asleep", flush=True)
time.sleep(60)`;

const THREAD = `
import threading
threading.Timer(0.1, lambda: print("from a thread", flush=True)).start()`;

const TIMEOUT_MS = 20_000;

/** The events so far, and waits for new ones. */
class EventLog {
  readonly events: SessionEvent[] = [];
  #look = () => {};

  async read(events: AsyncIterable<SessionEvent>): Promise<void> {
    for await (const event of events) {
      this.events.push(event);
      this.#look();
    }
  }

  /** Resolves when the reply and the `idle` status have both arrived. */
  async end(msg_id: string): Promise<void> {
    await this.until(
      `the reply to ${msg_id}`,
      ({ channel, header, parent_header }) =>
        parent_header?.msg_id === msg_id &&
        channel !== "iopub" &&
        header.msg_type.endsWith("_reply"),
    );
    await this.idle(msg_id);
  }

  async idle(msg_id: string): Promise<void> {
    await this.until(
      `the idle of ${msg_id}`,
      ({ parent_header, content }) =>
        parent_header?.msg_id === msg_id &&
        content["execution_state"] === "idle",
    );
  }

  async stream(text: string): Promise<void> {
    await this.until(
      text,
      ({ header, content }) =>
        header.msg_type === "stream" && String(content["text"]).includes(text),
    );
  }

  /** The comm of the first widget with this model. */
  model(name: string): string {
    const opened = this.#messages().find(
      ({ header, content }) =>
        header.msg_type === "comm_open" &&
        JSON.stringify(content).includes(`"${name}"`),
    );
    if (opened === undefined) throw new Error(`There is no ${name}`);
    return String((opened.content as Record<string, unknown>)["comm_id"]);
  }

  until(
    what: string,
    fits: (
      message: Message & { readonly content: Record<string, unknown> },
    ) => boolean,
  ): Promise<Message> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const received = this.#messages().map(({ header }) => header.msg_type);
        reject(
          new Error(
            `Timed out while waiting for ${what}; received: ${received.join(", ")}`,
          ),
        );
      }, TIMEOUT_MS);
      this.#look = () => {
        const found = this.#messages().find((message) => fits(message));
        if (found === undefined) return;
        clearTimeout(timer);
        this.#look = () => {};
        resolve(found);
      };
      this.#look();
    });
  }

  #messages(): Message[] {
    return this.events.filter(
      (event) => event.kind === "jupyter" || event.kind === "other",
    );
  }
}
