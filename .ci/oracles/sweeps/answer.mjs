/**
 * Plays the sweeps' algorithms for compare.py, a JSON message a line: {spec, seed} begins a sweep and is answered with
 * nothing; {ask} → {params}; {report: [step, value]} → {stop}; {tell: value or null} ends the trial asked for last.
 * Values are lower-is-better.
 */
import { createInterface } from 'node:readline';
import { strategyOf } from '../../../src/training/sweeps/algorithms/strategy.ts';
import { dimensionOf } from '../../../src/training/sweeps/spec.ts';

let strategy;
let trials = [];
let current;

const verbs = {
  spec: ({ spec, seed }) => {
    strategy = strategyOf(spec, spec.parameters.map(dimensionOf), seed);
    trials = [];
  },
  ask: () => {
    const number = trials.length;
    const bracket = strategy.bracketOf(number);
    const params = strategy.suggest(number, trials.filter((trial) => trial.bracket === bracket));
    current = { number, bracket, params, state: 'running', value: undefined, lastStep: 0, rungs: [], reports: [] };
    trials.push(current);
    return { params };
  },
  report: ({ report: [step, value] }) => {
    current.reports.push({ step, value });
    current.lastStep = step;
    const { rungs, stop } = strategy.judge(current, trials.filter((trial) => trial !== current));
    current.rungs = rungs;
    return { stop: stop !== '' };
  },
  tell: ({ tell }) => {
    current.state = tell === null ? 'stopped' : 'complete';
    current.value = tell ?? current.reports.at(-1).value;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  const [verb] = Object.keys(verbs).filter((key) => key in message);
  const answer = verbs[verb](message);
  if (answer !== undefined) process.stdout.write(`${JSON.stringify(answer)}\n`);
}
