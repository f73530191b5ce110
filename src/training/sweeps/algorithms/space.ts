import type { Random } from './random-source.ts';

export type ParamValue = number | string;
/** One point of the search space: parameter → value. */
export type Params = Readonly<Record<string, ParamValue>>;

/** A number from `low` to `high`, both included; with a step only low, low + step, … */
export interface NumberDimension {
  kind: 'number';
  name: string;
  low: number;
  high: number;
  /** Searched by its logarithm: low is above 0. */
  log: boolean;
  /** 1 for whole numbers; undefined: continuous. */
  step: number | undefined;
}

/** One of a list. */
export interface ChoiceDimension {
  kind: 'choice';
  name: string;
  choices: readonly ParamValue[];
}

export type Dimension = NumberDimension | ChoiceDimension;

/** The interval in which a number is searched: half a step around what is allowed, in logarithms when it is a log one. */
export function bounds({ low, high, log, step = 0 }: NumberDimension): { low: number; high: number } {
  const ends = { low: low - step / 2, high: high + step / 2 };
  return log ? { low: Math.log(ends.low), high: Math.log(ends.high) } : ends;
}

/** The place of a value on the axis that is searched: the number or its logarithm, or the index of a choice. */
export function toAxis(dimension: Dimension, value: ParamValue): number {
  if (dimension.kind === 'choice') return dimension.choices.indexOf(value);
  return dimension.log ? Math.log(value as number) : (value as number);
}

/** The allowed value nearest to a place on the axis. */
export function fromAxis(dimension: Dimension, place: number): ParamValue {
  if (dimension.kind === 'choice') return dimension.choices[place];
  const { low, high, step, log } = dimension;
  const value = log ? Math.exp(place) : place;
  const stepped = step === undefined ? value : low + Math.round((value - low) / step) * step;
  return Math.min(high, Math.max(low, step === undefined ? stepped : withoutNoise(stepped)));
}

/** Sums of a decimal step, such as 0.1 + 2 · 0.1, without the last bits' noise. */
function withoutNoise(value: number): number {
  return Number(value.toPrecision(12));
}

/** Any point of the space, each with the same chance (of its logarithm, where that is searched). */
export function anyPoint(space: readonly Dimension[], random: Random): Params {
  return Object.fromEntries(space.map((dimension) => [dimension.name, anyValue(dimension, random)]));
}

function anyValue(dimension: Dimension, random: Random): ParamValue {
  if (dimension.kind === 'choice') return dimension.choices[Math.floor(random() * dimension.choices.length)];
  const { low, high } = bounds(dimension);
  return fromAxis(dimension, low + (high - low) * random());
}
