/** `--label key=value`, as often as it is wanted. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { Labels } from "../../contract/index.ts";

export interface LabelOption {
  readonly label?: Readonly<Record<string, string>> | undefined;
}

export function withLabels(command: Command, what: string): Command {
  return command.addOption(labelOption(what));
}

export function labelOption(what: string): Option {
  return new Option("--label <key=value>", `${what}; repeatable`).argParser(
    (text: string, before: Labels | undefined): Labels => {
      const at = text.indexOf("=");
      const labels = { ...before, [text.slice(0, at)]: text.slice(at + 1) };
      if (at > 0 && Labels.safeParse(labels).success) return labels;
      throw new InvalidArgumentError(
        "It is a name and a value, such as team=stats: letters, digits and . _ / - make a name.",
      );
    },
  );
}

/** For a session that is made; nothing where nothing was said. */
export function labelled({ label }: LabelOption): { labels?: Labels } {
  return label === undefined ? {} : { labels: { ...label } };
}
