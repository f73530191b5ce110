import type { AlgorithmSpec, SweepSpec } from '../spec.ts';
import { gridPoint } from './grid.ts';
import { chooseBracket, climb } from './halving.ts';
import type { Report, Trial } from './history.ts';
import { stopsByMedian } from './median-stop.ts';
import { randomOf } from './random-source.ts';
import { anyPoint, type Dimension, type Params } from './space.ts';
import { suggestTpe } from './tpe.ts';

/** A trial as the rules for stopping see it; lower values are better. */
export interface Contender {
  bracket: number;
  state: Trial['state'];
  rungs: readonly number[];
  reports: readonly Report[];
}

export interface Verdict {
  rungs: number[];
  /** Why it stops; '' = it goes on. */
  stop: string;
}

/** What to try next and what to stop: pure functions of the seed and of what the trials have shown. */
export interface Strategy {
  /** Whether trials are judged by what they report on their way. */
  readonly judges: boolean;
  bracketOf(number: number): number;
  /** Undefined: everything has been tried. `trials` are those of the same bracket. */
  suggest(number: number, trials: readonly Trial[]): Params | undefined;
  judge(trial: Contender, others: readonly Contender[]): Verdict;
}

type Early = Pick<SweepSpec, 'algorithm' | 'earlyStopping'>;

export function strategyOf({ algorithm, earlyStopping }: Early, space: readonly Dimension[], seed: number): Strategy {
  const { name, settings } = algorithm;
  const halving = name === 'asha' || name === 'hyperband' ? settings : undefined;
  return {
    judges: halving !== undefined || earlyStopping !== undefined,
    // A stream of its own: what a trial is asked to try does not hang on whether brackets were drawn.
    bracketOf: (number) => (name === 'hyperband' ? chooseBracket(settings, randomOf(seed, -1 - number)) : 0),
    suggest: (number, trials) => suggest(algorithm, space, number, trials, seed),
    judge: (trial, others) => {
      if (halving !== undefined) {
        const rivals = others.filter(({ bracket }) => bracket === trial.bracket).map(({ rungs }) => rungs);
        const { rungs, stop } = climb(trial.reports, trial.rungs, rivals, halving, trial.bracket);
        return { rungs, stop: stop ? `not among the best at rung ${rungs.length}` : '' };
      }
      if (earlyStopping === undefined) return { rungs: [], stop: '' };
      const complete = others.filter(({ state }) => state === 'complete').map(({ reports }) => reports);
      const stop = stopsByMedian(trial.reports, complete, earlyStopping.settings);
      return { rungs: [], stop: stop ? 'worse than the median of the complete trials' : '' };
    },
  };
}

function suggest(
  algorithm: AlgorithmSpec,
  space: readonly Dimension[],
  number: number,
  trials: readonly Trial[],
  seed: number,
): Params | undefined {
  if (algorithm.name === 'grid') return gridPoint(space, number);
  const random = randomOf(seed, number);
  if (algorithm.name === 'random') return anyPoint(space, random);
  if (algorithm.name !== 'tpe' && algorithm.settings.sampler === 'random') return anyPoint(space, random);
  return suggestTpe(space, trials, algorithm.settings, random);
}
