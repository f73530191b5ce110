import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parsePbtxt } from './parse.ts';
import type { TreeField, TreeMessage, TreeValue } from './tree.ts';

/** The tree without positions: [name, value] pairs, `form:text` scalars. */
function plain(value: TreeValue): unknown {
  if (value.kind === 'scalar') return `${value.form}:${value.text}`;
  if (value.kind === 'list') return value.items.map(plain);
  return { fields: value.fields.map(({ name, value }) => [name, plain(value)]) };
}

const parse = (source: string) => plain(parsePbtxt(source, 'm/config.pbtxt'));
const fields = (...list: unknown[]) => ({ fields: list });

test('messages in braces and angles, with and without colon, separators and comments', () => {
  const source = `# head
name: "m"; max_batch_size: 8, # tail
input [ { name: 'a' dims: [ -1, 3 ] } , <name: "b"> ]
dynamic_batching { }  version_policy: < latest { num_versions: 2 } >`;
  assert.deepEqual(
    parse(source),
    fields(
      ['name', 'string:m'],
      ['max_batch_size', 'number:8'],
      ['input', [fields(['name', 'string:a'], ['dims', ['number:-1', 'number:3']]), fields(['name', 'string:b'])]],
      ['dynamic_batching', fields()],
      ['version_policy', fields(['latest', fields(['num_versions', 'number:2'])])],
    ),
  );
});

test('adjacent strings join, escapes name bytes', () => {
  assert.deepEqual(
    parse(`s: "a" 'b'\n "\\x41\\102\\n\\"\\303\\xA9\\u00e9\\U0001F600"`),
    fields(['s', 'string:abAB\n"éé😀']),
  );
});

test('literals keep their spelling', () => {
  assert.deepEqual(
    parse('a: 0x1F b: 017 c: -1.5e3 d: 2.f e: -inf f: nan g: .5 h: - 4 i: true j: []'),
    fields(
      ['a', 'number:0x1F'],
      ['b', 'number:017'],
      ['c', 'number:-1.5e3'],
      ['d', 'number:2.f'],
      ['e', 'word:-inf'],
      ['f', 'word:nan'],
      ['g', 'number:.5'],
      ['h', 'number:-4'],
      ['i', 'word:true'],
      ['j', []],
    ),
  );
});

test('errors name file, line and column', () => {
  const cases: [string, RegExp][] = [
    ['a: 1\n  b 2', /^m\/config.pbtxt:2:5: expected ":" or "\{" after the field name, found "2"/],
    ['a {\n b: 1', /:2:6: expected a field name or "}", found the end/],
    ['a: "x\ny"', /:1:4: string is not closed/],
    ['a: "\\q"', /:1:5: unknown escape \\q/],
    ['a: "\\xff"', /not valid UTF-8/],
    ['a: [1, 2', /expected "," or "\]"/],
    ['a: 12abc', /malformed number "12a"/],
    ['a: @', /unexpected character "@"/],
    ['a: -foo', /expected a value/],
    ['} ', /expected a field name/],
    ['a { > ', /expected a field name or "}"/],
    ['a [ 1 ]', /expected a message in the list/],
    ['a {'.repeat(100), /nest deeper/],
  ];
  for (const [source, message] of cases) {
    assert.throws(() => parsePbtxt(source, 'm/config.pbtxt'), { code: 'invalid_argument', message }, source);
  }
});

test('a file of a million brackets is refused, not crashed on', () => {
  assert.throws(() => parsePbtxt('a{'.repeat(500_000), 'f'), { code: 'invalid_argument' });
  assert.throws(() => parsePbtxt('a:1 '.repeat(500_000), 'f'), /larger than/);
});

function print(value: TreeValue): string {
  if (value.kind === 'list') return `[${value.items.map(print).join(', ')}]`;
  if (value.kind === 'message') return `{ ${printFields(value.fields)} }`;
  return value.form === 'string' ? JSON.stringify(value.text) : value.text;
}

function printFields(list: TreeField[]): string {
  return list.map(({ name, value }) => `${name}: ${print(value)}`).join('\n');
}

test('whatever is printed is parsed to the same tree', () => {
  const at = { line: 0, column: 0 };
  const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/);
  const scalar = fc.oneof(
    fc.string({ unit: 'grapheme' }).map((text): TreeValue => ({ kind: 'scalar', form: 'string', text, ...at })),
    fc.integer().map((n): TreeValue => ({ kind: 'scalar', form: 'number', text: String(n), ...at })),
    name.map((text): TreeValue => ({ kind: 'scalar', form: 'word', text, ...at })),
  );
  const { message } = fc.letrec<{ value: TreeValue; message: TreeMessage }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      scalar,
      fc.array(scalar, { maxLength: 4 }).map((items): TreeValue => ({ kind: 'list', items, ...at })),
      tie('message'),
    ),
    message: fc
      .array(fc.record({ name, value: tie('value') }), { maxLength: 4 })
      .map((list): TreeMessage => ({ kind: 'message', fields: list.map((field) => ({ ...field, ...at })), ...at })),
  }));
  fc.assert(
    fc.property(message, (tree) => assert.deepEqual(parse(printFields(tree.fields)), plain(tree))),
    { numRuns: 200 },
  );
});
