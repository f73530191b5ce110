import { configError } from '../pbtxt/tokens.ts';
import type { Position, TreeField, TreeMessage, TreeValue } from '../pbtxt/tree.ts';
import { readScalar } from './scalars.ts';
import { ENUMS, EXTENSION_PREFIX, EXTENSIONS, type FieldType, fieldType, MESSAGES, ONE_OF } from './schema.ts';

export type RawConfig = Record<string, unknown>;

/** `pbtxt`: text protobuf's rules. `json`: YAML and JSON: maps are objects, camelCase names and quoted numbers pass. */
export type Style = 'pbtxt' | 'json';

const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Maps a parsed tree onto Triton's ModelConfig as JSON with snake_case names, holding only the fields given.
 * Throws invalid_argument naming file, line, column, the field's path and what is allowed.
 */
export function mapModelConfig(tree: TreeMessage, file: string, style: Style): RawConfig {
  return new Mapper(file, style).message(tree, 'ModelConfig', '');
}

class Mapper {
  private readonly file: string;
  private readonly style: Style;

  constructor(file: string, style: Style) {
    this.file = file;
    this.style = style;
  }

  message(tree: TreeMessage, type: string, path: string): RawConfig {
    const schema = MESSAGES[type];
    const result: RawConfig = {};
    const seen = new Map<string, Position>();
    const extensions: TreeField[] = [];
    for (const field of tree.fields) {
      const name = this.style === 'json' ? field.name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`) : field.name;
      if (this.style === 'json' && type === 'ModelConfig' && EXTENSIONS.includes(name)) {
        extensions.push({ ...field, name });
        continue;
      }
      if (!Object.hasOwn(schema, name)) this.unknownField(field, type, path);
      const kind = fieldType(schema[name]);
      const fieldPath = path === '' ? name : `${path}.${name}`;
      const before = seen.get(name);
      if (before && (this.style === 'json' || !(kind.repeated || kind.mapKey))) {
        this.fail(field, `${fieldPath} is given twice; first on line ${before.line}`);
      }
      const rival = ONE_OF[type]
        ?.find((group) => group.includes(name))
        ?.find((other) => other !== name && seen.has(other));
      if (rival !== undefined) this.fail(field, `${fieldPath} cannot stand beside ${rival}: give one of them`);
      seen.set(name, field);
      if (kind.mapKey !== '') {
        result[name] = this.mapField(field, kind, (result[name] ?? {}) as RawConfig, fieldPath);
      } else if (kind.repeated) {
        const list = (result[name] ?? []) as unknown[];
        const items = field.value.kind === 'list' ? field.value.items : [field.value];
        for (const item of items) list.push(this.value(item, kind.base, `${fieldPath}[${list.length}]`));
        result[name] = list;
      } else {
        result[name] = this.value(field.value, kind.base, fieldPath);
      }
    }
    for (const field of extensions) this.extension(field, result);
    return result;
  }

  private value(value: TreeValue, type: string, path: string): unknown {
    if (Object.hasOwn(MESSAGES, type)) {
      // YAML shorthand: a parameter's value may stand without its string_value wrapper.
      if (type === 'Parameter' && this.style === 'json' && value.kind === 'scalar') return { string_value: value.text };
      if (value.kind !== 'message') this.fail(value, `${path} must be a message with fields, not ${describe(value)}`);
      return this.message(value, type, path);
    }
    if (value.kind !== 'scalar') this.fail(value, `${path} must be a single value, not ${describe(value)}`);
    if (Object.hasOwn(ENUMS, type)) return this.enumValue(value, type, path);
    const read = readScalar(value, type, this.style);
    if ('error' in read) this.fail(value, `${path} ${read.error}`);
    return read.value;
  }

  private enumValue(value: Extract<TreeValue, { kind: 'scalar' }>, type: string, path: string): string {
    const names = ENUMS[type];
    if (value.form === 'number') {
      const name = names[Number(value.text)];
      if (name !== undefined) return name;
    } else if (value.form === 'word' || this.style === 'json') {
      if (names.includes(value.text)) return value.text;
      if (this.style === 'json') {
        const short = value.text.toUpperCase() === 'BYTES' ? 'STRING' : value.text.toUpperCase();
        const long = names.find((name) => name === short || name.slice(name.indexOf('_') + 1) === short);
        if (long !== undefined) return long;
      }
    } else {
      this.fail(value, `${path} must be one of ${names.join(', ')} without quotes, not "${value.text}"`);
    }
    this.fail(
      value,
      `${path} is "${value.text}"; did you mean ${nearest(value.text, names)}? Allowed: ${names.join(', ')}`,
    );
  }

  /** Text protobuf writes a map as repeated `{ key: … value: … }`; YAML and JSON as an object. */
  private mapField(field: TreeField, kind: FieldType, into: RawConfig, path: string): RawConfig {
    const entries = field.value.kind === 'list' && this.style === 'pbtxt' ? field.value.items : [field.value];
    for (const entry of entries) {
      if (entry.kind !== 'message') this.fail(entry, `${path} must map keys to values, not be ${describe(entry)}`);
      if (this.style === 'json') {
        for (const item of entry.fields) {
          const key: TreeValue = {
            kind: 'scalar',
            form: 'string',
            text: item.name,
            line: item.line,
            column: item.column,
          };
          this.mapEntry(key, item.value, kind, into, path);
        }
        continue;
      }
      const odd = entry.fields.find((item) => item.name !== 'key' && item.name !== 'value');
      if (odd) this.fail(odd, `unknown field "${odd.name}" in an entry of ${path}: allowed are key and value`);
      const key = entry.fields.find((item) => item.name === 'key');
      const value = entry.fields.find((item) => item.name === 'value');
      if (!key) this.fail(entry, `an entry of ${path} has no key`);
      const empty: TreeValue = Object.hasOwn(MESSAGES, kind.base)
        ? { kind: 'message', fields: [], line: entry.line, column: entry.column }
        : { kind: 'scalar', form: 'string', text: '', line: entry.line, column: entry.column };
      this.mapEntry(key.value, value?.value ?? empty, kind, into, path);
    }
    return into;
  }

  private mapEntry(key: TreeValue, value: TreeValue, kind: FieldType, into: RawConfig, path: string): void {
    const name = String(this.value(key, kind.mapKey, `${path} key`));
    if (FORBIDDEN_KEYS.has(name)) this.fail(key, `${path} key "${name}" is a reserved name`);
    if (Object.hasOwn(into, name)) this.fail(key, `${path} has the key "${name}" twice`);
    into[name] = this.value(value, kind.base, `${path}["${name}"]`);
  }

  private extension(field: TreeField, result: RawConfig): void {
    const { value } = field;
    const scalar = (item: TreeValue): string => {
      if (item.kind !== 'scalar') this.fail(item, `${field.name} holds ${describe(item)} where a value belongs`);
      return item.text;
    };
    const text =
      value.kind === 'list'
        ? value.items.map(scalar).join(',')
        : value.kind === 'message'
          ? value.fields.map((item) => `${item.name}=${scalar(item.value)}`).join(',')
          : value.text;
    const parameters = (result.parameters ?? {}) as RawConfig;
    const key = EXTENSION_PREFIX + field.name;
    if (Object.hasOwn(parameters, key))
      this.fail(field, `${field.name} is given twice: here and as parameters["${key}"]`);
    parameters[key] = { string_value: text };
    result.parameters = parameters;
  }

  private unknownField(field: TreeField, type: string, path: string): never {
    const names = Object.keys(MESSAGES[type]);
    if (this.style === 'json' && type === 'ModelConfig') names.push(...EXTENSIONS);
    const where = path === '' ? '' : ` in ${path}`;
    const hint = names.length === 0 ? 'no fields are allowed here' : `did you mean "${nearest(field.name, names)}"?`;
    this.fail(field, `unknown field "${field.name}"${where}; ${hint}`);
  }

  private fail(at: Position, message: string): never {
    throw configError(this.file, at, message);
  }
}

function describe(value: TreeValue): string {
  if (value.kind === 'message') return 'a message';
  if (value.kind === 'list') return 'a list';
  return value.form === 'string' ? JSON.stringify(value.text) : value.text;
}

/** The allowed name that begins with `name`, or else the one with the smallest edit distance. */
export function nearest(name: string, allowed: readonly string[]): string {
  const typed = name.slice(0, 64).toLowerCase();
  let best = '';
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of allowed) {
    const longer = typed.length >= 3 && candidate.toLowerCase().startsWith(typed);
    const distance = longer ? 0 : editDistance(typed, candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let older: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) next[j] = Math.min(next[j], older[j - 2] + 1);
    }
    older = row;
    row = next;
  }
  return row[b.length];
}
