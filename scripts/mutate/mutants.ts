/**
 * Makes the mutants of a source file. A test should notice each of them: a
 * condition that is always true or false, a boundary that moves by one, a missing
 * statement, another constant, a function that does nothing. Statements that only
 * write to a log stay as they are, and so do texts.
 */
import ts from "typescript";

export interface Mutant {
  /** Relative to the root of the repository. */
  readonly file: string;
  readonly line: number;
  /** The change, for a person. */
  readonly change: string;
  /** The whole file with the change. */
  readonly text: string;
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
  const parsed = ts.createSourceFile(
    file,
    source,
    ts.ScriptTarget.Latest,
    true,
  );
  return changesIn(parsed).map(({ node, by }) => {
    const from = node.getStart(parsed);
    const to = node.getEnd();
    const { line } = parsed.getLineAndCharacterOfPosition(from);
    return {
      file,
      line: line + 1,
      change: `${shortened(source.slice(from, to))}  →  ${shortened(by)}`,
      text: source.slice(0, from) + by + source.slice(to),
    };
  });
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

function shortened(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 70 ? `${line.slice(0, 69)}…` : line;
}
