import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Comparison, Panel, Scenario } from '../scenario.ts';
import { bootstrapMedian } from '../statistics.ts';

/** What loadtest/limits/codecs.mjs prints: one process a way and round, per size [decode, encode]. */
interface CodecRun {
  figures: { floats: number; what: 'decode' | 'encode' }[];
  raw: Record<'addon' | 'twin' | 'plain', { cpuMicros: number; p99Ms: number }[][][]>;
}

/** The addon's CPU per body is to be this many times less than its twin's. */
const TIMES_LESS: Readonly<Record<number, number>> = { 784: 4, 150000: 8 };
/** The event loop stands still no longer. */
const STALL_MS = 1;

export const codecs: Scenario = {
  name: 'codecs',
  description:
    "The addon's JSON codecs beside their TypeScript twins, in process: CPU per body, and how long a call stops the event loop (99th percentile).",
  async run({ quick, rounds, timing, say }) {
    say('codecs');
    const program = join(import.meta.dirname, '..', 'limits', 'codecs.mjs');
    const given = [program, String(rounds), String(quick ? 0.2 : Math.min(1, timing.seconds / 2))];
    const { stdout } = await promisify(execFile)(process.execPath, given, { maxBuffer: 64 * 1024 * 1024 });
    const figures = JSON.parse(stdout) as CodecRun;
    const comparisons: Comparison[] = [];
    for (const [i, { floats, what }] of figures.figures.entries()) {
      const [size, way] = [i >> 1, i & 1];
      const of = (who: 'addon' | 'twin') => figures.raw[who].map((round) => round[size][way]);
      const ratios = of('twin').map(({ cpuMicros }, round) => cpuMicros / of('addon')[round].cpuMicros);
      const atLeast = TIMES_LESS[floats];
      comparisons.push({
        text: `${what} ${floats.toLocaleString('en')} floats: the twin's CPU beside the addon's`,
        estimate: bootstrapMedian(ratios),
        unit: '×',
        goal: atLeast === undefined ? undefined : { atLeast },
      });
      comparisons.push({
        text: `${what} ${floats.toLocaleString('en')} floats: stall by the addon`,
        estimate: bootstrapMedian(of('addon').map(({ p99Ms }) => p99Ms)),
        unit: 'ms',
        goal: { atMost: STALL_MS },
      });
    }
    const panels: Panel[] = [{ title: 'in process', counts: 'bodies', series: [], comparisons }];
    return { name: this.name, description: this.description, panels, notes: [], figures };
  },
};
