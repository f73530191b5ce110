import type { Metric, TemplateDocument } from './route-schema.ts';
import type { CanarySpec } from './strategy-schema.ts';

type Report = (path: PropertyKey[], message: string) => void;
type Templates = ReadonlyMap<string, TemplateDocument>;

/** The metric of an analysis that passes last, however well all goes. */
interface Slowest {
  template: string;
  metric: Metric;
  /** Milliseconds from its first query, which is made at once, to the one that lets it pass. */
  least: number;
}

/**
 * Measurements from Prometheus take their time: an analysis that cannot have them all before its timeout never passes, and
 * a rollout that cannot before its deadline is always rolled back. Paths are those of a route's document.
 */
export function checkMeasuringTime(canary: CanarySpec, templates: Templates, report: Report): void {
  checkTimeouts(canary, templates, report);
  checkDeadline(canary, templates, report);
}

function checkTimeouts({ steps }: CanarySpec, templates: Templates, report: Report): void {
  steps.forEach(({ analysis }, i) => {
    if (analysis?.timeout === undefined) return;
    const slowest = slowestOf(analysis.templates, templates);
    if (slowest === undefined || slowest.least < analysis.timeout) return;
    report(
      at('steps', i, 'analysis', 'timeout'),
      `${said(slowest)}, so the analysis never passes within ${seconds(analysis.timeout)}; allow more than ${seconds(slowest.least)}, or lower count or interval`,
    );
  });
}

function checkDeadline(canary: CanarySpec, templates: Templates, report: Report): void {
  const { deadline, steps, background, onInconclusive } = canary;
  if (deadline === undefined) return;
  let elapsed = 0;
  let served: number | undefined;
  let last: Slowest | undefined;
  for (const { setWeight = 0, setMirror, pause, analysis } of steps) {
    if (setWeight > 0 || (setMirror?.percent ?? 0) > 0) served ??= elapsed;
    elapsed += pause?.duration ?? 0;
    const slowest = slowestOf(analysis?.templates, templates);
    if (slowest === undefined) continue;
    const ends = onInconclusive === 'pass' ? (analysis?.timeout ?? slowest.least) : slowest.least;
    elapsed += Math.min(slowest.least, ends);
    last = slowest;
  }
  // A background that has come to no verdict is passed over then.
  const behind = onInconclusive === 'pass' ? undefined : slowestOf(background?.templates, templates);
  if (behind !== undefined && (served ?? 0) + behind.least > elapsed) {
    elapsed = (served ?? 0) + behind.least;
    last = behind;
  }
  if (last === undefined || elapsed < deadline) return;
  report(
    at('deadline'),
    `${said(last)}, with what comes before ${seconds(elapsed)}, so a rollout never ends within ${seconds(deadline)}; allow more than ${seconds(elapsed)}, or lower count or interval`,
  );
}

/** Undefined: nothing of it is measured twice. */
function slowestOf(names: readonly string[] = [], templates: Templates): Slowest | undefined {
  let slowest: Slowest | undefined;
  for (const template of names) {
    for (const metric of templates.get(template)?.spec.metrics ?? []) {
      if (metric.prometheus === undefined) continue;
      const least = (metric.count - 1) * metric.interval;
      if (least > (slowest?.least ?? 0)) slowest = { template, metric, least };
    }
  }
  return slowest;
}

function said({ template, metric: { name, count, interval }, least }: Slowest): string {
  return `${count} measurements of metric ${name} (${template}), one every ${seconds(interval)}, take at least ${seconds(least)}`;
}

function at(...path: PropertyKey[]): PropertyKey[] {
  return ['spec', 'strategy', 'canary', ...path];
}

function seconds(milliseconds: number): string {
  return `${milliseconds / 1000} s`;
}
