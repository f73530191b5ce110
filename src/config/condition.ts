/**
 * The language of a successCondition: numbers, `result` (or `result[0]`), arithmetic, comparisons, `&&`, `||`, `!`,
 * parentheses, `isNaN(x)`, `abs(x)`. Parsed once, evaluated on numbers; nothing else is reachable from it.
 */
export type Condition = (result: readonly number[]) => boolean;

type Value = (result: readonly number[]) => number | boolean;

const TOKEN = /\s*(?:(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(&&|\|\||[<>=!]=|[-+*/%<>!()[\],]))/y;
const MAX_DEPTH = 50;

const LEVELS: Record<string, (a: never, b: never) => number | boolean>[] = [
  { '||': (a: boolean, b: boolean) => a || b },
  { '&&': (a: boolean, b: boolean) => a && b },
  { '==': (a: number, b: number) => a === b, '!=': (a: number, b: number) => a !== b },
  {
    '<': (a: number, b: number) => a < b,
    '<=': (a: number, b: number) => a <= b,
    '>': (a: number, b: number) => a > b,
    '>=': (a: number, b: number) => a >= b,
  },
  { '+': (a: number, b: number) => a + b, '-': (a: number, b: number) => a - b },
  { '*': (a: number, b: number) => a * b, '/': (a: number, b: number) => a / b, '%': (a: number, b: number) => a % b },
];

/** Throws Error with what is wrong. */
export function parseCondition(source: string): Condition {
  const tokens = tokenise(source);
  let at = 0;
  let depth = 0;
  const fail = (message: string): never => {
    throw new Error(`condition ${JSON.stringify(source)}: ${message}`);
  };
  const expect = (token: string) => {
    if (tokens[at++] !== token) fail(`expected "${token}"`);
  };
  const typed = (value: Typed, type: Typed['type'], operator: string): Typed =>
    value.type === type ? value : fail(`"${operator}" takes ${type}s`);

  const binary = (level: number): Typed => {
    if (level === LEVELS.length) return unary();
    let left = binary(level + 1);
    for (let operator = tokens[at]; Object.hasOwn(LEVELS[level], operator ?? ''); operator = tokens[at]) {
      at++;
      const needs = level < 2 ? 'boolean' : 'number';
      const a = typed(left, needs, operator).value;
      const b = typed(binary(level + 1), needs, operator).value;
      const apply = LEVELS[level][operator];
      left = {
        type: level < 4 ? 'boolean' : 'number',
        value: (result) => apply(a(result) as never, b(result) as never),
      };
    }
    return left;
  };
  const unary = (): Typed => {
    if (++depth > MAX_DEPTH) fail(`nests deeper than ${MAX_DEPTH}`);
    const token = tokens[at++];
    const parsed = primary(token);
    depth--;
    return parsed;
  };
  const primary = (token: string | undefined): Typed => {
    if (token === undefined) return fail('ends too early');
    if (token === '!') {
      const { value } = typed(unary(), 'boolean', '!');
      return { type: 'boolean', value: (result) => !value(result) };
    }
    if (token === '-') {
      const { value } = typed(unary(), 'number', '-');
      return { type: 'number', value: (result) => -(value(result) as number) };
    }
    if (token === '(') {
      const inner = binary(0);
      expect(')');
      return inner;
    }
    if (token === 'true' || token === 'false') return { type: 'boolean', value: () => token === 'true' };
    if (token === 'isNaN' || token === 'abs') {
      expect('(');
      const { value } = typed(binary(0), 'number', token);
      expect(')');
      if (token === 'abs') return { type: 'number', value: (result) => Math.abs(value(result) as number) };
      return { type: 'boolean', value: (result) => Number.isNaN(value(result)) };
    }
    if (token === 'result') {
      if (tokens[at] !== '[') return { type: 'number', value: (result) => result[0] ?? Number.NaN };
      at++;
      const index = Number(tokens[at++]);
      if (!Number.isInteger(index) || index < 0) fail('result[…] takes a whole number');
      expect(']');
      return { type: 'number', value: (result) => result[index] ?? Number.NaN };
    }
    const number = Number(token);
    if (Number.isNaN(number)) fail(`"${token}" is unknown; allowed: result, numbers, isNaN(), abs()`);
    return { type: 'number', value: () => number };
  };

  const whole = binary(0);
  if (at < tokens.length) fail(`unexpected "${tokens[at]}"`);
  if (whole.type !== 'boolean') fail('compares nothing; write something like "result >= 0.95"');
  return (result) => whole.value(result) as boolean;
}

interface Typed {
  type: 'number' | 'boolean';
  value: Value;
}

function tokenise(source: string): string[] {
  const tokens: string[] = [];
  const end = source.trimEnd().length;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < end) {
    const from = TOKEN.lastIndex;
    const found = TOKEN.exec(source);
    if (found === null)
      throw new Error(
        `condition ${JSON.stringify(source)}: cannot read ${JSON.stringify(source.slice(from, from + 10))}`,
      );
    tokens.push(found[1] ?? found[2] ?? found[3]);
  }
  return tokens;
}
