import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { InferRequest } from '../../pipeline/types.ts';
import { plainRequest } from '../../testing/plain-tensors.ts';
import { decodeInferRequest as decodeWithAddon } from './infer-decoder.ts';
import { scanInferRequest } from './json-scanner.ts';

/**
 * Every corner of the JSON grammar (RFC 8259), as values of members that the decoder builds and of members that it only
 * skips. `\xNN` in these tables stands for one byte.
 */
const accepted: Record<string, string[]> = {
  structure: [
    '[]',
    '{}',
    ' [] ',
    '[[]]',
    '[{}]',
    '\t\r\n[\n]\n',
    '{"a":{}}',
    '[null,true,false]',
    `${'['.repeat(90)}${']'.repeat(90)}`,
  ],
  literals: ['null', 'true', 'false'],
  numbers: [
    '0',
    '-0',
    '1',
    '-1',
    '10',
    '123',
    '0.5',
    '-0.0',
    '1.25',
    '1e0',
    '1E5',
    '1e+5',
    '1e-5',
    '0e1',
    '0e+1',
    '1.5E-7',
    '4.9e-324',
    '1e-999',
    '20e1',
    '0.00000000000000000000000000000000000000000001',
  ],
  'large numbers': [
    '9007199254740993',
    '18446744073709551616',
    '-9223372036854775809',
    '1.7976931348623157e308',
    '123456789012345678901234567890',
  ],
  strings: [
    '""',
    '"a"',
    '" "',
    '"/"',
    '"\\/"',
    '"\\""',
    '"\\\\"',
    '"\\b\\f\\n\\r\\t"',
    '"\\u0061"',
    '"\\u0000"',
    '"\\u00e9"',
    '"\\uD834\\uDD1E"',
    '"\\uFFFF"',
    '"\\uabCD"',
    '"\x7f"',
    '"// no comment"',
    '"[1,2"',
    '"\\\\u0041"',
    '"\\\\n"',
  ],
  'UTF-8': [
    '"\xc3\xa9"',
    '"\xe2\x82\xac"',
    '"\xf0\x9d\x84\x9e"',
    '"\xef\xbf\xbf"',
    '"\xe2\x80\xa8\xe2\x80\xa9"',
    '"\xf4\x8f\xbf\xbf"',
    '"\xe2\x80\x8b"',
  ],
  objects: [
    '{"a":1}',
    '{"a":1,"b":2}',
    '{"":0}',
    '{"a":1,"a":2}',
    '{"\\u0000":1}',
    '{"a":[1,{"b":[]}]}',
    '{ "a" : 1 , "b" : [ ] }',
    '{"\xc3\xa9":1}',
  ],
  // No JSON, and read all the same: what TensorFlow Serving and Triton send for such floats.
  'floats beyond JSON': ['NaN', 'Infinity', '-Infinity', '[NaN,Infinity]'],
};

const refused: Record<string, string[]> = {
  structure: [
    '',
    ' ',
    '[',
    ']',
    '{',
    '}',
    '[[]',
    '[]]',
    '[}',
    '{]',
    '[1}',
    '{"a":1]',
    '[1',
    '[1,',
    '[,',
    '[,1]',
    '[1,]',
    '[1,,2]',
    '[1 2]',
    '[1;2]',
    '[1:2]',
    '[1]x',
    '[][]',
    '{}{}',
    '{}[]',
    '[1]]',
    '[\x0b]',
    '[\x0c]',
    '\x00',
    '[1\x00]',
    '\xef\xbb\xbf{}',
    '\xe2\x81\xa0[]',
    '<null>',
    '[*]',
    '#',
    '[1]#',
    '[1] // c',
    '[/**/1]',
    '{"a":1/*c*/}',
    `${'['.repeat(101)}${']'.repeat(101)}`,
    '['.repeat(5000),
    '{"a":'.repeat(5000),
    '[{"":'.repeat(5000),
  ],
  literals: [
    'nul',
    'nulll',
    'Null',
    'NULL',
    'tru',
    'True',
    'TRUE',
    'truetrue',
    'fals',
    'False',
    'undefined',
    'nan',
    'inf',
    'Inf',
    '+Infinity',
    '-NaN',
    'Infinit',
    'NaNs',
  ],
  numbers: [
    '+1',
    '++1',
    '01',
    '-01',
    '00',
    '1.',
    '-1.',
    '.5',
    '-.5',
    '1.e5',
    '1e',
    '1e+',
    '1e-',
    '1E',
    '1eE2',
    '1e1e1',
    '1.2.3',
    '-',
    '--1',
    '- 1',
    '1-',
    '0x1',
    '0xF',
    '1_000',
    '1,000.',
    '1a',
    '1+1',
    '1e0x',
    '\xef\xbc\x91',
    '1\xe5',
    '0e+-1',
    '-a',
    '1e5\xff',
    '2.e+3',
    '012',
    '-2.',
  ],
  'numbers beyond 64-bit floats': ['1e400', '-1e400', '1e99999999999', '0.4e00669999999999999999'],
  strings: [
    '"',
    '"a',
    'a"',
    "'a'",
    '"\\"',
    '"\\',
    '"\\x41"',
    '"\\a"',
    '"\\0"',
    '"\\ "',
    '"\\U0041"',
    '"\\u"',
    '"\\u1"',
    '"\\u12"',
    '"\\u123"',
    '"\\u123g"',
    '"\\u 041"',
    '"\\u00e"',
    '"\\uD800\\u"',
    '"\\uD800\\u1x"',
    '"\\\xf0\x9f\x8c\x80"',
    '"\\\x00"',
    '"\\\t"',
    '"\x00"',
    '"\x1f"',
    '"\n"',
    '"\t"',
    '"a"b',
    '\\"a"',
    '"a""b"',
    '\\n"a"',
    '\xe9',
  ],
  'UTF-8': [
    '"\xe9"',
    '"\x80"',
    '"\xff"',
    '"\xc0\xaf"',
    '"\xed\xa0\x80"',
    '"\xf8\x88\x80\x80\x80"',
    '"\xe2\x82"',
    '"\xf4\xbf\xbf\xbf"',
    '"\\u\xe5"',
    '"\\\xe5"',
    '"a\x00"',
    '{"\xe9":1}',
    '\xff\xfe[\x00]\x00',
  ],
  objects: [
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{,"a":1}',
    '{"a":1,,"b":2}',
    '{"a" 1}',
    '{"a"::1}',
    '{"a",1}',
    '{a:1}',
    "{'a':1}",
    '{1:1}',
    '{null:1}',
    '{[]:1}',
    '{"a":1 "b":2}',
    '{"a":1}}',
    '{"a":1',
    '{"a":',
    '{"a',
    '{"a":"b}',
    '{:1}',
    '{"a":1;"b":2}',
    '{"\\x":1}',
    '{"\t":1}',
    '{"a":1}#',
    '{"a":\\u0031}',
  ],
};

/** Both decoders decide alike; where no addon is built they are one. */
function decodeInferRequest(body: Uint8Array): InferRequest {
  const outcome = (decode: typeof scanInferRequest): InferRequest | Error => {
    try {
      return plainRequest(decode('m', '', body, -1));
    } catch (error) {
      return error as Error;
    }
  };
  const scanned = outcome(scanInferRequest);
  assert.deepEqual(outcome(decodeWithAddon), scanned);
  if (scanned instanceof Error) throw scanned;
  return scanned;
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const input = (datatype: string, data: string): string =>
  `{"inputs":[{"name":"x","shape":[1],"datatype":"${datatype}","data":${data}}]}`;
/** Where a document may stand in a request without being read. */
const skipped: [string, (value: string) => void][] = [
  ['before the inputs', (value) => decodeInferRequest(bytes(`{"extra":${value},"inputs":[]}`))],
  ['last', (value) => decodeInferRequest(bytes(`{"inputs":[],"extra":[1,${value}]}`))],
  ['in an input', (value) => decodeInferRequest(bytes(input('FP32', `[1],"extra":{"k":${value}}`)))],
];
const invalid = { name: 'SwitchyardError', code: 'invalid_argument' };

describe('the JSON grammar in members that nobody reads', () => {
  for (const [place, decode] of skipped) {
    for (const [kind, values] of Object.entries(accepted)) {
      test(`${place}: ${kind} accepted`, () => {
        for (const value of values) assert.doesNotThrow(() => decode(value), value);
      });
    }
    for (const [kind, values] of Object.entries(refused)) {
      test(`${place}: ${kind} refused`, () => {
        for (const value of values) assert.throws(() => decode(value), invalid, JSON.stringify(value.slice(0, 80)));
      });
    }
  }
});

describe('the JSON grammar in tensors', () => {
  const numbers = [...accepted.numbers, ...accepted['large numbers']];
  test('every number is the double that JSON.parse reads', () => {
    for (const text of numbers) {
      const [tensor] = decodeInferRequest(bytes(input('FP64', `[${text}]`))).inputs;
      const value = new DataView(tensor.data.buffer, tensor.data.byteOffset).getFloat64(0, true);
      assert.ok(Object.is(value, JSON.parse(text)), text);
    }
  });

  test('every string is the bytes that JSON.parse reads', () => {
    for (const text of [...accepted.strings, ...accepted['UTF-8']]) {
      const [tensor] = decodeInferRequest(bytes(input('BYTES', `[${text}]`))).inputs;
      const expected = Buffer.from(JSON.parse(Buffer.from(text, 'latin1').toString('utf8')));
      assert.deepEqual(Buffer.from(tensor.data.subarray(4)), expected, text);
    }
  });

  for (const kind of Object.keys(refused)) {
    test(`${kind} refused`, () => {
      for (const value of refused[kind]) {
        for (const type of ['FP32', 'FP64', 'INT64', 'UINT8', 'BOOL', 'BYTES']) {
          const data = [`[${value}]`, value].filter((text) => !/^\[\s*\]$/.test(text));
          for (const text of data) {
            const decode = (): unknown => decodeInferRequest(bytes(input(type, text)));
            assert.throws(decode, invalid, `${type} ${JSON.stringify(text.slice(0, 80))}`);
          }
        }
      }
    });
  }
});

test('a document that is no request is refused, whatever it is', () => {
  const everything = [...Object.values(accepted), ...Object.values(refused)].flat();
  for (const text of everything) {
    assert.throws(() => decodeInferRequest(bytes(text)), invalid, JSON.stringify(text.slice(0, 80)));
  }
});
