import { Counters, freeze } from '../monitoring/counters.ts';
import { monitorSchema } from '../monitoring/document.ts';
import type { Value } from '../monitoring/statistics/bins.ts';
import { seededRandom } from '../monitoring/statistics/interval.ts';
import type { Reference } from '../monitoring/types.ts';
import { judgeWindow } from '../monitoring/verdict.ts';

/** Of references and windows. */
export const ROWS = 1000;
/** The stated share of windows that are flagged though nothing changed. */
export const FALSE_ALARMS = 0.01;

type Draw = (random: () => number) => Value[];

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Twenty columns of all kinds; `shift` moves three of them by so many standard deviations. */
export function twentyColumns(shift: number): Draw {
  return (random) => [
    normal(random) + shift,
    Math.exp(normal(random)) * (1 + shift / 2),
    -3 * Math.log(1 - random()) * (1 + shift),
    ...Array.from({ length: 7 }, () => normal(random)),
    ...Array.from({ length: 4 }, () => Math.floor(17 * random())),
    ...Array.from({ length: 3 }, () => (random() < 0.9 ? 0 : random())),
    random() < 0.3 ? 'a' : random() < 0.5 ? 'b' : 'c',
    random() < 0.02 ? null : Math.floor(300 * random()),
    random() < 0.05,
  ];
}

/** One of each kind: cheaper. */
export function sixColumns(shift: number): Draw {
  return (random) => [
    normal(random) + shift,
    Math.floor(17 * random()),
    random() < 0.9 ? 0 : random(),
    random() < 0.3 ? 'a' : random() < 0.5 ? 'b' : 'c',
    random() < 0.02 ? null : Math.floor(300 * random()),
    random() < 0.05,
  ];
}

export interface Rate {
  statistics: Record<string, number>;
  shift: number;
  windows: number;
  flagged: number;
  insufficient: number;
}

export interface Simulation {
  statistics: Record<string, number>;
  shift: number;
  seed: number;
  /** Each is drawn anew, and has so many windows. */
  references: number;
  windows: number;
  columns(shift: number): Draw;
}

/** How often windows are flagged that are drawn as their reference is, or moved by `shift`. */
export function simulateAlarms({ statistics, shift, seed, references, windows, columns }: Simulation): Rate {
  const { spec } = monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'simulation' },
    spec: { model: 'm', reference: { records: ROWS }, statistics, falseAlarms: FALSE_ALARMS },
  });
  const sketched = statistics.ks !== undefined || statistics.wasserstein !== undefined;
  const random = seededRandom(seed);
  const [same, moved] = [columns(0), columns(shift)];
  const names = same(random).map((_, i) => `inputs.c${i}`);
  const rate: Rate = { statistics, shift, windows: 0, flagged: 0, insufficient: 0 };
  const version = { monitor: 'simulation', version: '1', digest: '' };
  for (let i = 0; i < references; i++) {
    const rows = Array.from({ length: ROWS }, () => ({ values: same(random), slices: [] }));
    const reference: Reference = { ...version, frozenAt: 0, source: '', ...freeze(names, rows, sketched) };
    for (let j = 0; j < windows; j++) {
      const counters = new Counters(reference.columns, sketched);
      for (let row = 0; row < ROWS; row++) counters.add(moved(random), []);
      const window = { ...version, from: 0, to: 0, firstId: '', lastId: '', season: '', slices: counters.take() };
      const { state } = judgeWindow(spec, reference, window, 0);
      rate.windows++;
      if (state === 'drifted') rate.flagged++;
      if (state === 'insufficient') rate.insufficient++;
    }
  }
  return rate;
}

/** Flagged windows that the stated share allows, and chance with it. */
export function allowedAlarms({ windows }: Rate): number {
  return windows * FALSE_ALARMS + 4 * Math.sqrt(windows * FALSE_ALARMS);
}
