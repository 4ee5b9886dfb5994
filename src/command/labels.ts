/** The option `--label key=value`, which may be repeated. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { Labels } from "../../contract/index.ts";

export interface LabelOption {
  readonly label?: Readonly<Record<string, string>> | undefined;
}

export function withLabels(command: Command, help: string): Command {
  return command.addOption(labelOption(help));
}

export function labelOption(help: string): Option {
  return new Option("--label <key=value>", `${help}; repeatable`).argParser(
    (text: string, before: Labels | undefined): Labels => {
      const at = text.indexOf("=");
      const labels = { ...before, [text.slice(0, at)]: text.slice(at + 1) };
      if (at > 0 && Labels.safeParse(labels).success) return labels;
      throw new InvalidArgumentError(
        "Use KEY=VALUE, such as team=stats. A key has letters, digits and the characters . _ / -",
      );
    },
  );
}

/** The field `labels` of a new session; no field without the option. */
export function labelled({ label }: LabelOption): { labels?: Labels } {
  return label === undefined ? {} : { labels: { ...label } };
}
