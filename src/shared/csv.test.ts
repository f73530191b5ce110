import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { type CsvOptions, CsvReader, type CsvRecord } from './csv.ts';

function read(text: string, cuts: readonly number[] = [], options: CsvOptions = {}): CsvRecord[] {
  const bytes = Buffer.from(text);
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  const reader = new CsvReader(options);
  const records = places.slice(1).flatMap((end, i) => reader.push(bytes.subarray(places[i], end)));
  return [...records, ...reader.end()];
}

const cell = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.string({ unit: fc.constantFrom('"', ',', '\n', 'a', ' ', 'ä', '\r'), maxLength: 6 }),
);
const cuts = fc.array(fc.nat(10_000), { maxLength: 8 });

test('values come back whatever they are, wherever chunks are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(cell, { minLength: 1, maxLength: 4 }), { maxLength: 8 }),
      cuts,
      fc.constantFrom('\n', '\r\n', '\r'),
      (rows, at, newline) => {
        const text = rows
          .map((row) => row.map((value) => `"${value.replaceAll('"', '""')}"`).join(',') + newline)
          .join('');
        assert.deepEqual(
          read(text, at).map(({ values }) => values),
          rows,
        );
      },
    ),
  );
});

test('unquoted texts are read as csv-parse reads them', () => {
  const value = fc.string({ unit: fc.constantFrom('a', '1', ' ', 'ß', '.', '-'), maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(fc.array(value, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 8 }),
      cuts,
      fc.constantFrom(',', ';', '\t'),
      (rows, at, delimiter) => {
        const text = `\uFEFF${rows.map((row) => row.join(delimiter)).join('\n')}`;
        const known = parse(text, {
          bom: true,
          delimiter,
          relax_column_count: true,
          skip_empty_lines: true,
        }) as string[][];
        assert.deepEqual(
          read(text, at, { delimiter }).map(({ values }) => values.map((each) => each ?? '')),
          known,
        );
      },
    ),
  );
});

test('any text is read to its end, the same wherever it is cut', () => {
  const text = fc.string({ unit: fc.constantFrom('"', ',', '\n', '\r', 'a', 'ä'), maxLength: 40 });
  fc.assert(
    fc.property(text, cuts, (drawn, at) => assert.deepEqual(read(drawn, at), read(drawn))),
    { numRuns: 1000 },
  );
});

test('nothing is missing, quotes make it a text, and what is no record is told with its line', () => {
  const text = 'a,b\n,""\n\nNA,"NA"\n1,2"3\n"x"y,4\n"two\nlines",5\nlast,"open\n';
  assert.deepEqual(read(text, [], { missing: new Set(['NA']) }), [
    { line: 1, values: ['a', 'b'] },
    { line: 2, values: [null, ''] },
    { line: 4, values: [null, 'NA'] },
    { line: 5, values: [], problem: 'a quote stands within a value that does not begin with one', raw: '1,2"3\n' },
    { line: 6, values: [], problem: '"y" stands behind a closing quote', raw: '"x"y,4\n' },
    { line: 7, values: ['two\nlines', '5'] },
    { line: 9, values: [], problem: 'a quote is not closed', raw: 'last,"open\n' },
  ]);
});
