/** What one execution puts out, as a notebook keeps it (nbformat 4): streams joined, displays updated in place, `clear_output` obeyed. */
import type { MimeBundle, Output } from "../contract/index.ts";
import type { ExecutionEvent } from "./execution-event.ts";

type Displayed = Extract<
  Output,
  { output_type: "display_data" | "execute_result" }
>;

export class Outputs {
  #list: Output[] = [];
  readonly #displays = new Map<string, Displayed[]>();
  #clearsNext = false;
  #result: MimeBundle | undefined;

  get list(): readonly Output[] {
    return this.#list;
  }

  /** What the last `execute_result` shows. */
  get result(): MimeBundle | undefined {
    return this.#result;
  }

  add(event: ExecutionEvent): void {
    switch (event.type) {
      case "stream":
        this.#clearIfAsked();
        this.#stream(event.name, event.text);
        break;
      case "display_data": {
        const { type: output_type, data, metadata, display_id } = event;
        this.#display({ output_type, data, metadata }, display_id);
        break;
      }
      case "execute_result": {
        const { type: output_type, data, metadata } = event;
        const { execution_count, display_id } = event;
        this.#result = data;
        this.#display(
          { output_type, data, metadata, execution_count },
          display_id,
        );
        break;
      }
      case "error": {
        const { type: output_type, ename, evalue, traceback } = event;
        this.#clearIfAsked();
        this.#list.push({ output_type, ename, evalue, traceback });
        break;
      }
      case "update_display_data":
        this.update(event);
        break;
      case "clear_output":
        this.#clearsNext = event.wait;
        if (!event.wait) this.#clear();
        break;
      case "execute_input":
      case "execute_reply":
      case "status":
      case "input_request":
      case "queued":
      case "gap":
      case "other":
        break; // says something, puts nothing out
    }
  }

  /** Concerns every display of its id, whoever caused it. */
  update({
    display_id,
    data,
    metadata,
  }: Extract<ExecutionEvent, { type: "update_display_data" }>): void {
    for (const output of this.#displays.get(display_id) ?? []) {
      Object.assign(output, { data, metadata });
    }
  }

  #stream(name: "stdout" | "stderr", text: string): void {
    const last = this.#list.at(-1);
    if (last?.output_type === "stream" && last.name === name) {
      last.text += text;
    } else this.#list.push({ output_type: "stream", name, text });
  }

  #display(output: Displayed, display_id: string | undefined): void {
    this.#clearIfAsked();
    this.#list.push(output);
    if (display_id === undefined) return;
    const same = this.#displays.get(display_id) ?? [];
    this.#displays.set(display_id, [...same, output]);
  }

  #clearIfAsked(): void {
    if (this.#clearsNext) this.#clear();
    this.#clearsNext = false;
  }

  #clear(): void {
    this.#list = [];
    this.#displays.clear();
    this.#result = undefined;
  }
}
