import type { BanditSpec } from '../../config/strategy-schema.ts';
import { murmur3 } from '../hash.ts';
import type { RequestView } from '../matchers.ts';

type ContextSpec = NonNullable<BanditSpec['context']>;

/**
 * Hashes a request's context into a vector of fixed length. Its first element is 1. A number adds itself, compressed to
 * sign(v)·ln(1 + |v|), at its name's place; a text adds 1 at the place of name=text. The places' signs are hashed too,
 * so that collisions cancel out on average.
 */
export function hashFeatures(
  context: ContextSpec,
  request: Pick<RequestView, 'input' | 'header' | 'parameter'>,
  x: Float64Array,
): Float64Array {
  x.fill(0);
  x[0] = 1;
  for (const name of context.inputs) addFeature(x, name, request.input(name), 1);
  for (const name of context.headers) addFeature(x, name, request.header(name), 2);
  for (const name of context.parameters) addFeature(x, name, request.parameter(name), 3);
  return x;
}

function addFeature(x: Float64Array, name: string, value: string | undefined, seed: number): void {
  if (value === undefined || value === '' || x.length < 2) return;
  const number = Number(value);
  const numeric = Number.isFinite(number);
  const key = murmur3(name, seed);
  const hash = numeric ? key : murmur3(value, key);
  const size = numeric ? Math.sign(number) * Math.log1p(Math.abs(number)) : 1;
  x[1 + ((hash >>> 1) % (x.length - 1))] += hash & 1 ? size : -size;
}
