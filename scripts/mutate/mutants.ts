/**
 * Makes the mutants of a source file. A test should notice each of them: a
 * condition that is always true or false, a boundary that moves by one, a missing
 * statement, another constant, a function that does nothing. Statements that only
 * write to a log stay as they are, and so do texts.
 *
 * It also makes a copy of a file that records which mutants a test reaches.
 */
import ts from "typescript";

export interface Mutant {
  /** Relative to the root of the repository. */
  readonly file: string;
  /** Its index among the mutants of the file. */
  readonly index: number;
  readonly line: number;
  /** The change, for a person. */
  readonly change: string;
  readonly from: number;
  readonly to: number;
  readonly by: string;
}

interface Change {
  readonly node: ts.Node;
  readonly by: string;
}

const OPERATORS: Readonly<Partial<Record<ts.SyntaxKind, string>>> = {
  [ts.SyntaxKind.LessThanToken]: "<=",
  [ts.SyntaxKind.LessThanEqualsToken]: "<",
  [ts.SyntaxKind.GreaterThanToken]: ">=",
  [ts.SyntaxKind.GreaterThanEqualsToken]: ">",
  [ts.SyntaxKind.EqualsEqualsEqualsToken]: "!==",
  [ts.SyntaxKind.ExclamationEqualsEqualsToken]: "===",
  [ts.SyntaxKind.AmpersandAmpersandToken]: "||",
  [ts.SyntaxKind.BarBarToken]: "&&",
  [ts.SyntaxKind.PlusToken]: "-",
  [ts.SyntaxKind.MinusToken]: "+",
  [ts.SyntaxKind.PlusEqualsToken]: "-=",
  [ts.SyntaxKind.MinusEqualsToken]: "+=",
};

/** Statements that only write to a log. */
const LOGS = /\b(log|guard|console)\.\w+\(|\.#log\.\w+\(|super\(/;

export function mutantsOf(file: string, source: string): readonly Mutant[] {
  const parsed = parse(file, source);
  return changesIn(parsed).map(({ node, by }, index) => {
    const from = node.getStart(parsed);
    const to = node.getEnd();
    const { line } = parsed.getLineAndCharacterOfPosition(from);
    return {
      file,
      index,
      line: line + 1,
      change: `${shortened(source.slice(from, to))}  →  ${shortened(by)}`,
      from,
      to,
      by,
    };
  });
}

/** The whole file with the change. */
export function mutated({ from, to, by }: Mutant, source: string): string {
  return source.slice(0, from) + by + source.slice(to);
}

/**
 * The file with a mark at each mutant: code that runs there writes 1 to the global
 * array `__reached`, at `first` plus the mutant's index. A constant of the module is
 * reached where it is used, because its own code runs when the module is loaded.
 */
export function marked(file: string, source: string, first: number): string {
  const parsed = parse(file, source);
  const changes = changesIn(parsed);
  const wraps: Wrap[] = changes.flatMap(({ node }, index) => {
    const mark = `__reached[${first + index}]=1`;
    const wrap = wrapOf(node, mark);
    return wrap === undefined ? [] : [wrap];
  });
  wraps.push(...usesOf(parsed, changes, first));
  const edits = wraps.flatMap(({ from, to, before, after }) => [
    { at: from, text: before, rank: 1, length: to - from },
    { at: to, text: after, rank: 0, length: from - to },
  ]);
  // At one position: what ends there first, the inner before the outer; then what begins there, the outer before the inner.
  edits.sort((a, b) => a.at - b.at || a.rank - b.rank || b.length - a.length);
  let text = "";
  let at = 0;
  for (const edit of edits) {
    text += source.slice(at, edit.at) + edit.text;
    ({ at } = edit);
  }
  return text + source.slice(at);
}

interface Wrap {
  readonly from: number;
  readonly to: number;
  readonly before: string;
  readonly after: string;
}

function wrapOf(node: ts.Node, mark: string): Wrap | undefined {
  if (ts.isBlock(node)) {
    const from = node.getStart() + 1;
    return { from, to: from, before: `${mark};`, after: "" };
  }
  const expression = ts.isExpressionStatement(node)
    ? node.expression
    : ts.isBinaryExpression(node.parent) && node.parent.operatorToken === node
      ? node.parent
      : node;
  return around(expression, mark);
}

function around(expression: ts.Node, mark: string): Wrap {
  return {
    from: expression.getStart(),
    to: expression.getEnd(),
    before: `(${mark}, `,
    after: ")",
  };
}

/** Marks the uses of each constant of the module whose value has mutants. */
function usesOf(
  parsed: ts.SourceFile,
  changes: readonly Change[],
  first: number,
): Wrap[] {
  const marks = new Map<string, string[]>();
  for (const [index, { node }] of changes.entries()) {
    const name = constantAround(node);
    if (name === undefined) continue;
    const list = marks.get(name) ?? [];
    list.push(`__reached[${first + index}]`);
    marks.set(name, list);
  }
  const wraps: Wrap[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isImportDeclaration(node)) return;
    if (ts.isExportDeclaration(node)) return;
    if (ts.isIdentifier(node) && isUse(node)) {
      const mark = marks.get(node.text)?.join("=");
      if (mark !== undefined) wraps.push(around(node, `${mark}=1`));
    }
    ts.forEachChild(node, visit);
  };
  visit(parsed);
  return wraps;
}

/** The name of the module's constant whose value this node is part of. */
function constantAround(node: ts.Node): string | undefined {
  for (let at = node; !ts.isSourceFile(at); at = at.parent) {
    if (ts.isFunctionLike(at)) return undefined;
    if (!ts.isVariableDeclaration(at)) continue;
    const isOfModule = ts.isSourceFile(at.parent.parent.parent);
    return isOfModule && ts.isIdentifier(at.name) ? at.name.text : undefined;
  }
  return undefined;
}

/** Whether the identifier is an expression that reads a variable. */
function isUse(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isShorthandPropertyAssignment(parent)) return false;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isBinaryExpression(parent)) {
    const { kind } = parent.operatorToken;
    const isAssignment =
      kind >= ts.SyntaxKind.FirstAssignment &&
      kind <= ts.SyntaxKind.LastAssignment;
    return !(isAssignment && parent.left === node);
  }
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  return (
    ts.isCallExpression(parent) ||
    ts.isNewExpression(parent) ||
    ts.isElementAccessExpression(parent) ||
    ts.isConditionalExpression(parent) ||
    ts.isReturnStatement(parent) ||
    ts.isSpreadElement(parent) ||
    ts.isTemplateSpan(parent) ||
    (ts.isVariableDeclaration(parent) && parent.initializer === node) ||
    (ts.isParameter(parent) && parent.initializer === node) ||
    (ts.isBindingElement(parent) && parent.initializer === node)
  );
}

function parse(file: string, source: string): ts.SourceFile {
  return ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true);
}

function changesIn(root: ts.Node): Change[] {
  const changes: Change[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isImportDeclaration(node)) return;
    if (ts.isInterfaceDeclaration(node)) return;
    if (ts.isThrowStatement(node)) return; // only its text would change
    changes.push(...changesOf(node));
    ts.forEachChild(node, visit);
  };
  visit(root);
  return changes;
}

function changesOf(node: ts.Node): Change[] {
  if (ts.isIfStatement(node)) {
    return ["true", "false"].map((by) => ({ node: node.expression, by }));
  }
  if (ts.isConditionalExpression(node)) {
    const { condition } = node;
    return [{ node: condition, by: `!(${condition.getText()})` }];
  }
  if (ts.isBinaryExpression(node)) {
    const by = OPERATORS[node.operatorToken.kind];
    const isText = [node.left, node.right].some(ts.isStringLiteralLike);
    if (by === undefined || (isText && by === "-")) return [];
    return [{ node: node.operatorToken, by }];
  }
  if (ts.isExpressionStatement(node)) {
    return LOGS.test(node.getText()) ? [] : [{ node, by: ";" }];
  }
  if (ts.isNumericLiteral(node)) {
    if (isName(node)) return [];
    const text = node.getText();
    const isLimit = Number(text.replaceAll("_", "")) >= 100; // one more has no effect that a test could notice
    return [{ node, by: isLimit ? `(2 * ${text})` : `(${text} + 1)` }];
  }
  if (node.kind === ts.SyntaxKind.TrueKeyword) return [{ node, by: "false" }];
  if (node.kind === ts.SyntaxKind.FalseKeyword) return [{ node, by: "true" }];
  const isFunction =
    ts.isMethodDeclaration(node) || ts.isFunctionDeclaration(node);
  if (
    isFunction &&
    node.body !== undefined &&
    node.body.statements.length > 1
  ) {
    const returnsValue = node.type?.kind !== ts.SyntaxKind.VoidKeyword;
    return returnsValue ? [] : [{ node: node.body, by: "{}" }];
  }
  return [];
}

/** Whether the number is the name of a property, as in `{ 1: "a" }`. */
function isName(node: ts.NumericLiteral): boolean {
  return "name" in node.parent && node.parent.name === node;
}

function shortened(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 70 ? `${line.slice(0, 69)}…` : line;
}
