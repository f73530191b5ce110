import type { RouteView } from '../client/admin.ts';
import { type BanditView, type ExperimentView, renderBandit, renderExperiment } from './routes-results-view.ts';
import { formatTable } from './table.ts';

const BAR = 24;

/** What `routes get` shows of one route. */
export function renderRoute(route: RouteView): string {
  const parts = [`${route.name}  ${route.strategy}  ${route.status}`, renderVariants(route)];
  const shadows = route.variants.flatMap(({ name, shadow }) =>
    shadow === undefined ? [] : [shadowText(name, shadow)],
  );
  if (shadows.length > 0) parts.push(shadows.join('\n'));
  if (route.rollout !== undefined) parts.push(renderRollout(route.rollout));
  if (route.experiment !== undefined) parts.push(renderExperiment(route.experiment as unknown as ExperimentView));
  if (route.bandit !== undefined) parts.push(renderBandit(route.bandit as unknown as BanditView));
  return parts.join('\n\n');
}

function renderVariants({ variants }: RouteView): string {
  const rows = variants.map(({ name, model, version, weight, requests, errors, latency_ms }) => [
    name,
    `${model}@${version === '' ? '–' : version}`,
    `${bar(weight)} ${percent(weight)}`,
    String(requests),
    String(errors),
    latency_ms === null ? '–' : `${latency_ms.p50} ms`,
    latency_ms === null ? '–' : `${latency_ms.p99} ms`,
  ]);
  return formatTable(['variant', 'version', 'share', 'requests', 'errors', 'p50', 'p99'], rows);
}

function renderRollout(rollout: NonNullable<RouteView['rollout']>): string {
  const { step, steps, phase, reason, problem, reports, history, window } = rollout;
  const lines = steps.map((entry, i) => {
    const mark = i < step || phase === 'succeeded' ? '✔' : i === step && !over(phase) ? '▶' : ' ';
    return ` ${mark} ${stepText(entry)}`;
  });
  const rows = reports.map(({ metric, verdict, requests, reason: why }) => [metric, verdict, String(requests), why]);
  return [
    `${rollout.stable_version} → ${rollout.candidate_version}: ${phase}${rollout.paused ? ' (paused)' : ''}${reason === '' ? '' : `, ${reason}`}`,
    ...(problem === undefined ? [] : [`the alias cannot be moved; it is tried again: ${problem}`]),
    ...lines,
    '',
    `compared now: control ${armText(window.control)} · candidate ${armText(window.candidate)}`,
    ...(rows.length === 0 ? [] : [formatTable(['metric', 'verdict', 'requests', 'why'], rows)]),
    '',
    ...history.slice(-6).map(({ at, message }) => ` ${new Date(at).toISOString().slice(11, 19)}  ${message}`),
  ].join('\n');
}

function stepText(step: Record<string, unknown>): string {
  const [[name, value]] = Object.entries(step);
  if (typeof value === 'number') return `${name} ${value} %`;
  const fields = Object.entries(value as Record<string, unknown>);
  if (fields.length === 0) return `${name} until promoted`;
  return `${name} ${fields.map(([key, field]) => `${key} ${key === 'duration' ? `${Number(field) / 1000} s` : String(field)}`).join(', ')}`;
}

function armText({
  requests,
  errors,
  latency_p99_ms,
}: {
  requests: number;
  errors: number;
  latency_p99_ms: number | null;
}): string {
  return `${requests} requests, ${errors} errors, p99 ${latency_p99_ms === null ? '–' : `${latency_p99_ms} ms`}`;
}

function over(phase: string): boolean {
  return phase === 'succeeded' || phase === 'rolledBack' || phase === 'rollingBack';
}

function shadowText(name: string, shadow: NonNullable<RouteView['variants'][number]['shadow']>): string {
  const { match, mismatch, failed, dropped, uncompared, mismatch_low, mismatch_high, max_mismatch, verdict } = shadow;
  const mismatched = mismatch + failed;
  const compared = match + mismatched;
  const rate =
    compared === 0
      ? 'nothing compared yet'
      : `${mismatched} of ${compared} answers differ, ${percent(mismatched / compared)} (${percent(mismatch_low)} to ${percent(mismatch_high)})`;
  const limit = max_mismatch === null ? '' : `; ${percent(max_mismatch)} allowed: ${verdict}`;
  return `shadow of ${name}: ${rate}${limit}\n  ${failed} of them failed, ${dropped} dropped, ${uncompared} without an answer to compare with`;
}

function bar(share: number): string {
  const full = Math.round(share * BAR);
  return '█'.repeat(full) + '░'.repeat(BAR - full);
}

function percent(share: number): string {
  return `${Math.round(share * 1000) / 10} %`;
}
