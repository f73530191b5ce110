import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LogEvaluation } from '../experiments/ope/from-log.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { readLines, routeOf } from './log-files.ts';
import { collect, positiveNumber } from './options.ts';
import { formatTable } from './table.ts';

interface OpeFlags {
  route: string[];
  name?: string;
  weights?: Record<string, number>;
  policy?: string[];
  rewards?: string[];
  rewardName: string;
  alpha: number;
  minEffective: number;
  output: 'table' | 'json';
}

export function addOpe(program: Command, output: Output, setExit: (code: number) => void): void {
  program
    .command('ope')
    .description("off-policy evaluation: what another policy would have earned, from a route's logged decisions")
    .argument('<records...>', 'files of JSON lines: log records, of one route or several')
    .requiredOption('--route <file>', 'route file: whose decisions they are; repeatable', collect)
    .option('--name <route>', 'where the file has several')
    .option('--policy <file>', "file of a route whose strategy is evaluated; default: the route's own", collect)
    .addOption(
      new Option('--weights <variant=share,...>', 'evaluate these fixed shares instead')
        .argParser(weights)
        .conflicts('policy'),
    )
    .option(
      '--rewards <file>',
      'JSON lines of {"id", "reward"}, repeatable; default: the field "reward" of the records',
      collect,
    )
    .option('--reward-name <name>', 'of {"id", "rewards": {name: number}}', 'reward')
    .addOption(new Option('--alpha <number>', 'intervals hold with 1 − α').argParser(share).default(0.05))
    .addOption(
      new Option('--min-effective <number>', 'fewer effective samples are refused')
        .argParser(positiveNumber)
        .default(100),
    )
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .addHelpText('after', '\nExit codes: 0 evaluated, 1 refused or wrong input, 2 wrong command line')
    .action(async (files: string[], flags: OpeFlags) => setExit(await ope(files, flags, output)));
}

async function ope(files: string[], flags: OpeFlags, output: Output): Promise<number> {
  const { readLogged } = await import('../experiments/replay/logged-record.ts');
  const { evaluateLog } = await import('../experiments/ope/from-log.ts');
  const { readLoggedReward, RewardTable } = await import('../experiments/ope/rewards.ts');
  const { fixedPolicy, policyOf } = await import('../experiments/ope/target-policy.ts');
  const { route } = await routeOf(flags.route, flags.name);
  const { spec, metadata } = flags.policy === undefined ? route : (await routeOf(flags.policy, undefined)).route;
  for (const variant of Object.keys(flags.weights ?? spec.variants)) {
    if (!(variant in route.spec.variants))
      throw new CliError(
        `${flags.weights === undefined ? `the policy of ${metadata.name}` : '--weights'} names ${variant}; route ${route.metadata.name} has ${Object.keys(route.spec.variants).join(', ')}`,
        EXIT.usage,
      );
  }
  // How rewards are taken is the logging route's, where it says; else the evaluated policy's.
  const reward = (strategyOf(route.spec) ?? strategyOf(spec))?.reward ?? { aggregate: 'first', range: ANY, default: 0 };
  const records = await readLines(files, readLogged);
  const table = new RewardTable(reward, new Map(records.map(({ id, tenant }) => [id, tenant])));
  for (const one of await readLines(flags.rewards ?? [], (value) => readLoggedReward(value, flags.rewardName)))
    table.add(one);
  let result: LogEvaluation;
  try {
    result = evaluateLog(records, {
      route: route.metadata.name,
      policy: flags.weights === undefined ? policyOf(spec) : fixedPolicy(flags.weights),
      context: spec.strategy.bandit?.context,
      loggedContext: route.spec.strategy.bandit?.context,
      rewards: table,
      defaultReward: reward.default,
      alpha: flags.alpha,
      minEffective: flags.minEffective,
    });
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) throw new CliError(error.message);
    throw error;
  }
  if (flags.output === 'json') output.out(JSON.stringify(shown(result), undefined, 2));
  else output.out(render(result, table, records.length));
  return result.refusal === '' ? EXIT.ok : EXIT.failed;
}

/** A script that reads only the estimates must not find any that are refused. */
function shown(result: LogEvaluation): object {
  return result.refusal === '' ? result : { ...result, ips: null, snips: null, dr: null };
}

const ANY: [number, number] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];

function strategyOf({ strategy }: Awaited<ReturnType<typeof routeOf>>['route']['spec']) {
  return strategy.bandit ?? strategy.experiment;
}

function render(
  result: LogEvaluation,
  rewards: { outOfRange: number; duplicates: number; foreign: number },
  records: number,
): string {
  const { decisions, leftOut, rewarded, effectiveSamples, meanWeight, maxWeight, refusal } = result;
  const aside = Object.entries(leftOut).map(([why, count]) => `${count} ${why}`);
  const lines = [
    `${decisions} decisions of ${records} records${aside.length === 0 ? '' : ` (left out: ${aside.join(', ')})`}`,
    `${rewarded} of them rewarded${rewards.outOfRange > 0 ? `, ${rewards.outOfRange} rewards out of range` : ''}${rewards.duplicates > 0 ? `, ${rewards.duplicates} duplicates` : ''}${rewards.foreign > 0 ? `, ${rewards.foreign} rewards of other tenants left out` : ''}`,
    `effective samples ${effectiveSamples.toFixed(1)}, mean weight ${meanWeight.toFixed(4)}, largest ${maxWeight.toFixed(2)}`,
  ];
  if (refusal !== '') return [...lines, `refused: ${refusal}`].join('\n');
  const row = (name: string, { value, low, high }: LogEvaluation['ips']): string[] => [
    name,
    value.toPrecision(6),
    `${low.toPrecision(6)} … ${high.toPrecision(6)}`,
  ];
  const rows = [
    row('as logged', result.logged),
    row('IPS', result.ips),
    row('SNIPS', result.snips),
    ...(result.dr === undefined ? [] : [row('DR', result.dr)]),
  ];
  return [...lines, '', formatTable(['estimate', 'reward', 'interval'], rows)].join('\n');
}

function share(value: string): number {
  const parsed = Number(value);
  if (!(parsed > 0 && parsed < 1)) throw new InvalidArgumentError('give a number between 0 and 1');
  return parsed;
}

function weights(text: string): Record<string, number> {
  return Object.fromEntries(
    text.split(',').map((part) => {
      const [name, value] = part.split('=');
      const parsed = Number(value);
      if (!name || value === undefined || value.trim() === '' || !(parsed >= 0))
        throw new InvalidArgumentError('give shares such as stable=90,next=10');
      return [name, parsed];
    }),
  );
}
