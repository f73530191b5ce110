// Arbitraries: numbers, tensors and whole requests of the v2 protocol, as texts.
import fc from 'fast-check';

const INTEGERS = {
  UINT8: [0n, 255n],
  UINT16: [0n, 65535n],
  UINT32: [0n, 4294967295n],
  UINT64: [0n, 2n ** 64n - 1n],
  INT8: [-128n, 127n],
  INT16: [-32768n, 32767n],
  INT32: [-(2n ** 31n), 2n ** 31n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
} as const;

const digits = (max: number) => fc.array(fc.nat(9), { minLength: 1, maxLength: max }).map((list) => list.join(''));

/** Decimals as any writer may spell them, of up to 45 digits, with or without exponent. */
const decimal = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(
      fc.constant('0'),
      digits(25).map((text) => text.replace(/^0+(?=\d)/, '')),
    ),
    fc.oneof(
      fc.constant(''),
      digits(20).map((text) => `.${text}`),
    ),
    fc.oneof(
      { weight: 4, arbitrary: fc.constant('') },
      fc.integer({ min: -30, max: 12 }).map((e) => `e${e}`),
    ),
  )
  .map((parts) => parts.join(''));

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true });
export const number = fc.oneof(
  decimal,
  float32.map((value) => (Object.is(value, -0) ? '-0' : String(value))),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: -3.4e38, max: 3.4e38 }).map(String),
  fc.constantFrom('NaN', 'Infinity', '-Infinity', '0', '-0', '-0.0', '1e-45', '0.1', '5e-324'),
);

export const gap = fc.constantFrom('', '', '', ' ', '\n  ', '\t');

/** The elements as nested arrays of the shape, or flat, with white space. */
export function nest(texts: readonly string[], shape: readonly number[], flat: boolean, space: string): string {
  const comma = `,${space}`;
  if (flat || shape.length < 2) return `[${space}${texts.join(comma)}${space}]`;
  const [rows, ...rest] = shape;
  const each = rows === 0 ? 0 : texts.length / rows;
  const parts = Array.from({ length: rows }, (_, i) => nest(texts.slice(i * each, (i + 1) * each), rest, flat, space));
  return `[${parts.join(comma)}]`;
}

const shapes = fc.array(fc.nat(4), { maxLength: 3 });

const input = fc
  .tuple(shapes, fc.boolean(), gap, fc.constantFrom(...Object.keys(INTEGERS), 'FP32', 'FP64', 'BOOL', 'BYTES'))
  .chain(([shape, flat, space, datatype]) => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    let element: fc.Arbitrary<string> = number;
    if (datatype in INTEGERS) {
      const [min, max] = INTEGERS[datatype as keyof typeof INTEGERS];
      element = fc.oneof(fc.bigInt({ min, max }).map(String), fc.constant('0'), fc.nat(100).map(String));
    } else if (datatype === 'BOOL') {
      element = fc.constantFrom('true', 'false', '0', '1');
    } else if (datatype === 'BYTES') {
      element = fc.string().map((text) => JSON.stringify(text));
    }
    const members = fc.shuffledSubarray(['shape', 'datatype', 'data', 'extra', 'parameters'], { minLength: 3 });
    return fc.tuple(fc.array(element, { minLength: count, maxLength: count }), members).map(([texts, order]) => ({
      shape: `"shape":${space}[${shape.join(`,${space}`)}]`,
      datatype: `"datatype":${space}"${datatype}"`,
      data: `"data":${space}${nest(texts, shape, flat, space)}`,
      extra: '"extra":{"a":[1,{"b":null}],"c":"\\u00e9"}',
      parameters: '"parameters":{"of":"no interest"}',
      order,
      space,
    }));
  });

/** The text of a v2 infer request, most often a correct one. */
export const inferText = fc
  .record({
    inputs: fc.array(input, { minLength: 1, maxLength: 3 }),
    rest: fc.shuffledSubarray([
      '"id":"some id"',
      '"id":null',
      '"outputs":[{"name":"y"},{"name":"z","parameters":{"binary_data":true}}]',
      '"outputs":[]',
      '"parameters":{"timeout":5,"binary_data_output":true}',
      '"other":[[],{}]',
    ]),
    first: fc.boolean(),
  })
  .map(({ inputs, rest, first }) => {
    const list = inputs.map(({ order, space, ...members }, i) => {
      const chosen = order.map((name) => members[name as keyof typeof members]);
      return `{${[`"name":"x${i}"`, ...chosen].join(`,${space}`)}}`;
    });
    const section = `"inputs":[${list.join(',')}]`;
    return `{${(first ? [section, ...rest] : [...rest, section]).join(',')}}`;
  });
