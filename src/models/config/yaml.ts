import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { configError } from '../pbtxt/tokens.ts';
import { MAX_CONFIG_BYTES, MAX_DEPTH, type Position, type TreeMessage, type TreeValue } from '../pbtxt/tree.ts';

/** Nodes a document may expand to through its aliases. */
const MAX_NODES = 20_000;

/** Reads a YAML configuration (core schema, 1 MiB) into the common tree. Throws invalid_argument with line and column. */
export function parseYaml(source: string, file: string): TreeMessage {
  const start = { line: 0, column: 0 };
  if (Buffer.byteLength(source) > MAX_CONFIG_BYTES)
    throw configError(file, start, `is larger than ${MAX_CONFIG_BYTES} bytes`);
  const lines = new LineCounter();
  const position = (offset: number | undefined): Position => {
    const at = offset === undefined ? undefined : lines.linePos(offset);
    return at ? { line: at.line, column: at.col } : start;
  };
  let nodes = 0;
  const document = guard(file, () =>
    parseDocument(source, { schema: 'core', lineCounter: lines, intAsBigInt: true, prettyErrors: false }),
  );
  const problem = document.errors[0];
  if (problem) throw configError(file, position(problem.pos[0]), problem.message);

  const convert = (node: unknown, depth: number): TreeValue | undefined => {
    const at = position((node as Node).range?.[0]);
    if (++nodes > MAX_NODES) throw configError(file, at, `holds more than ${MAX_NODES} values after its aliases`);
    if (depth > MAX_DEPTH) throw configError(file, at, `nests deeper than ${MAX_DEPTH}`);
    if (isAlias(node)) {
      const target = node.resolve(document);
      if (!target) throw configError(file, at, `alias *${node.source} has no anchor`);
      return convert(target, depth + 1);
    }
    if (isMap(node)) {
      const message: TreeMessage = { kind: 'message', fields: [], ...at };
      for (const { key, value } of node.items) {
        const keyAt = position((key as Node).range?.[0]);
        if (!isScalar(key)) throw configError(file, keyAt, 'keys must be plain names');
        const converted = value === null ? undefined : convert(value, depth + 1);
        if (converted) message.fields.push({ name: String(key.value), value: converted, ...keyAt });
      }
      return message;
    }
    if (isSeq(node)) {
      const items = node.items.map((item) => convert(item, depth + 1));
      const hole = items.indexOf(undefined);
      if (hole >= 0) throw configError(file, at, `list item ${hole} is empty`);
      return { kind: 'list', items: items as TreeValue[], ...at };
    }
    return isScalar(node) ? scalar(node.value, at) : undefined;
  };

  if (document.contents === null) return { kind: 'message', fields: [], line: 1, column: 1 };
  const tree = guard(file, () => convert(document.contents, 0));
  if (tree?.kind !== 'message')
    throw configError(file, { line: 1, column: 1 }, 'must be a mapping of field names to values');
  return tree;
}

/** Reads a load request's inline JSON configuration into the common tree. Throws invalid_argument. */
export function parseJsonConfig(source: string, file: string): TreeMessage {
  const start = { line: 0, column: 0 };
  if (Buffer.byteLength(source) > MAX_CONFIG_BYTES)
    throw configError(file, start, `is larger than ${MAX_CONFIG_BYTES} bytes`);
  const convert = (value: unknown, depth: number): TreeValue | undefined => {
    if (depth > MAX_DEPTH) throw configError(file, start, `nests deeper than ${MAX_DEPTH}`);
    if (Array.isArray(value)) {
      const items = value.map((item) => convert(item, depth + 1));
      if (items.includes(undefined)) throw configError(file, start, 'a list holds null');
      return { kind: 'list', items: items as TreeValue[], ...start };
    }
    if (typeof value !== 'object' || value === null) return scalar(value, start);
    const message: TreeMessage = { kind: 'message', fields: [], ...start };
    for (const [name, item] of Object.entries(value)) {
      const converted = convert(item, depth + 1);
      if (converted) message.fields.push({ name, value: converted, ...start });
    }
    return message;
  };
  const tree = convert(
    guard(file, () => JSON.parse(source) as unknown),
    0,
  );
  if (tree?.kind !== 'message') throw configError(file, start, 'must be a JSON object');
  return tree;
}

/** null means "not given", as in protobuf's JSON form. */
function scalar(value: unknown, at: Position): TreeValue | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value === 'string') return { kind: 'scalar', form: 'string', text: value, ...at };
  return { kind: 'scalar', form: typeof value === 'boolean' ? 'word' : 'number', text: String(value), ...at };
}

function guard<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) throw configError(file, { line: 0, column: 0 }, 'nests too deeply');
    if (error instanceof SyntaxError)
      throw configError(file, { line: 0, column: 0 }, `is not valid JSON: ${error.message}`);
    throw error;
  }
}
