// Prints the test files that can tell whether the addon is there: those whose imports reach it, or reach what starts
// threads and processes that load it. The others run the same code with it and without.
import { spawnSync } from 'node:child_process';

const STARTERS =
  '^src/(tensor/native|testing/server-process|control/executor-pool|control/gateway-fleet|eventlog/event-log|backends/process/executor|models/preflight/launcher)\\.ts$';

const args = ['src', '--no-config', '--ts-pre-compilation-deps', '--reaches', STARTERS, '--output-type', 'json'];
const { status, stdout, stderr } = spawnSync('depcruise', args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
if (status !== 0) throw new Error(stderr);
const files = JSON.parse(stdout)
  .modules.map(({ source }) => source)
  .filter((file) => file.endsWith('.test.ts') && !/\.(service|soak)\.test\.ts$/.test(file))
  .sort();
if (!files.includes('src/main.test.ts')) throw new Error('no test reaches the program: the starters have moved');
console.log(files.join('\n'));
