import { formatTable } from './table.ts';

/** As the admin API shows results, as far as they are shown here. */
export interface ExperimentView {
  verdict: string;
  invalid?: string;
  control: string;
  arms: {
    name: string;
    counted: number;
    requests: number;
    errors: number;
    rewards: number;
    reward_mean: number | null;
  }[];
  primary: EffectView[];
  guardrails: (EffectView & { margin: number })[];
  sample_ratio: { counts: number[]; p_value: number; alpha: number; counted: string; sampled: number };
}

interface EffectView {
  arm: string;
  metric: string;
  test: string;
  samples: number;
  value: number | null;
  control: number | null;
  effect: number | null;
  interval: [number | null, number | null];
  verdict: string;
  p_value?: number;
  samples_needed?: number;
}

export interface BanditView {
  policy: string;
  mode: string;
  snapshot: number | null;
  arms: { name: string; probability: number | null; rewards: number; mean: number | null; version: string }[];
  feedback: Record<string, number>;
}

export function renderExperiment(experiment: ExperimentView): string {
  const { verdict, invalid, control, arms, primary, guardrails, sample_ratio: ratio } = experiment;
  const counted = ratio.sampled > 1 ? `${ratio.counted}, one in ${ratio.sampled}` : ratio.counted;
  const effects = [
    ...primary.map((effect) => effectRow(effect, '')),
    ...guardrails.map((effect) => effectRow(effect, `margin ${effect.margin}`)),
  ];
  return [
    `experiment against ${control}: ${verdict}${invalid === undefined ? '' : `, ${invalid}`}`,
    formatTable(
      ['arm', counted, 'requests', 'errors', 'rewards', 'mean'],
      arms.map((arm) => [
        arm.name,
        ...[arm.counted, arm.requests, arm.errors, arm.rewards].map(String),
        number(arm.reward_mean),
      ]),
    ),
    formatTable(['arm', 'metric', 'verdict', 'control', 'value', 'effect', 'interval', 'test', ''], effects),
    `shares: p = ${number(ratio.p_value)}, an alarm below ${ratio.alpha}`,
  ].join('\n\n');
}

function effectRow(effect: EffectView, note: string): string[] {
  const { arm, metric, verdict, control, value, interval, test, p_value: p, samples_needed: needed } = effect;
  const notes = [
    note,
    p === undefined ? '' : `p = ${number(p)}`,
    needed === undefined || needed === 0 || verdict !== 'undecided' ? '' : `about ${needed} more samples`,
  ];
  return [
    arm,
    metric,
    verdict,
    number(control),
    number(value),
    number(effect.effect),
    `${interval.map(number).join(' … ')}`,
    test,
    notes.filter((text) => text !== '').join(', '),
  ];
}

export function renderBandit({ policy, mode, snapshot, arms, feedback }: BanditView): string {
  const counts = Object.entries(feedback).map(([result, count]) => `${count} ${result}`);
  return [
    `${policy}, ${mode}, snapshot ${snapshot ?? '–'}`,
    formatTable(
      ['arm', 'version', 'probability', 'rewards', 'mean'],
      arms.map(({ name, version, probability, rewards, mean }) => [
        name,
        version === '' ? '–' : version,
        number(probability),
        number(rewards),
        number(mean),
      ]),
    ),
    `decisions and rewards: ${counts.join(', ') || 'none'}`,
  ].join('\n\n');
}

function number(value: number | null): string {
  return value === null ? '–' : String(Number(value.toPrecision(4)));
}
