import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import type { Weighted } from './samples.ts';

/** A sketch as messages and the database carry it: items by level, each standing for 2^level values. */
export interface KllState {
  k: number;
  n: number;
  levels: number[][];
}

const SHRINK = 2 / 3;
const LEAST_CAPACITY = 8;

/**
 * Karnin, Lang and Liberty's quantile sketch: of any number of values it keeps about 3 k, by which ranks are known to
 * within about 1.7 / k of the whole (k = 200: 1.3 % of single ranks, 1.65 % of all at once, at 99 % confidence). Sketches
 * of parts merge to a sketch of the whole. The source of chance is seeded: the same values give the same sketch.
 */
export class KllSketch {
  readonly k: number;
  n = 0;
  private levels: number[][] = [[]];
  private readonly random: RandomGenerator;

  constructor(k = 200, seed = 1) {
    this.k = k;
    this.random = xoroshiro128plus(seed);
  }

  /** A sketch as `state` gave it, for more values. Its source of chance begins anew. */
  static from(state: KllState): KllSketch {
    const sketch = new KllSketch(state.k);
    sketch.n = state.n;
    sketch.levels = state.levels.map((level) => [...level]);
    return sketch;
  }

  /** A copy, as messages and the database carry it. */
  state(): KllState {
    return { k: this.k, n: this.n, levels: this.levels.map((level) => [...level]) };
  }

  /** NaN is left out. */
  add(value: number): void {
    if (Number.isNaN(value)) return;
    this.n++;
    const [lowest] = this.levels;
    lowest.push(value);
    if (lowest.length >= this.capacity(0)) this.compact();
  }

  /** Takes in another sketch of the same k. */
  merge(other: KllState): void {
    this.n += other.n;
    other.levels.forEach((level, i) => {
      this.levels[i] ??= [];
      this.levels[i].push(...level);
    });
    this.compact();
  }

  /** What it keeps, as a weighted sample. */
  sample(): Weighted {
    const items = this.levels.flatMap((level, i) => level.map((value) => ({ value, weight: 2 ** i })));
    items.sort((a, b) => a.value - b.value);
    return {
      values: Float64Array.from(items, ({ value }) => value),
      weights: Float64Array.from(items, ({ weight }) => weight),
    };
  }

  private capacity(level: number): number {
    const depth = this.levels.length - level - 1;
    return Math.max(LEAST_CAPACITY, Math.ceil(this.k * SHRINK ** depth));
  }

  /** Levels that are full give every second of their items to the level above. */
  private compact(): void {
    for (let i = 0; i < this.levels.length; i++) {
      const level = this.levels[i];
      if (level.length < this.capacity(i)) continue;
      if (i + 1 === this.levels.length) this.levels.push([]);
      level.sort((a, b) => a - b);
      // An odd one stays, so that the weights still add up to n.
      const left = level.length % 2 === 1 ? level.splice(level.length - 1, 1) : [];
      const offset = uniformInt(this.random, 0, 1);
      for (let j = offset; j < level.length; j += 2) this.levels[i + 1].push(level[j]);
      this.levels[i] = left;
    }
  }
}
