import type { Metric, RouteDocument } from '../../config/route-schema.ts';
import { type ArmEvidence, combine, type Evidence, judge, type Report, type Verdict } from '../rollout/judge.ts';
import { addToArm, noArm, ShadowEvidence } from './evidence.ts';
import type { LoggedRecord } from './logged-record.ts';

export interface ReplaySettings {
  route: RouteDocument;
  /** Of the templates to run. */
  metrics: readonly Metric[];
  /** Variants that are compared. Absent: those of the route's canary, by the roles on record. */
  control?: string | undefined;
  candidate?: string | undefined;
  /** Milliseconds of the log between two looks. */
  lookEvery: number;
}

export interface Look {
  /** Milliseconds since 1970, by the log. */
  time: number;
  control: { requests: number; errors: number };
  candidate: { requests: number; errors: number };
  verdict: Verdict;
  reports: Report[];
}

export interface Replay {
  /** Failed at some look; else passed at some look; else inconclusive. */
  verdict: Verdict;
  /** The look that decided; undefined: none did. */
  decided: Look | undefined;
  last: Look | undefined;
  looks: number;
  /** Windows in which counting began anew, because the control slice had another size. */
  windows: number;
  records: number;
  leftOut: Record<string, number>;
  /** Metrics that ask Prometheus: a log cannot answer for them. */
  unjudged: string[];
}

/**
 * Runs analyses over logged records as a gateway would have run them: counts grow record by record, and all metrics are
 * looked at every so often. Records come in the order of their times. α is split over metrics and windows as in a
 * rollout. Throws RangeError when the route does not say what to compare.
 */
export function replay(records: readonly LoggedRecord[], settings: ReplaySettings): Replay {
  const { route, lookEvery } = settings;
  const sides = sidesOf(settings);
  const metrics = settings.metrics.filter(({ test }) => test !== undefined);
  // Each size of the control slice is a window of its own; pooling over them would mix times unequally.
  const share = 1 / (Math.max(1, metrics.length) * Math.max(1, countChanges(records, route, sides)));
  const state = new Counting(route, sides);
  const result: Replay = {
    verdict: 'inconclusive',
    decided: undefined,
    last: undefined,
    looks: 0,
    windows: 1,
    records: 0,
    leftOut: state.leftOut,
    unjudged: settings.metrics.filter(({ test }) => test === undefined).map(({ name }) => name),
  };
  const look = (time: number): void => {
    const evidence = state.evidence();
    const reports = metrics.map((metric) => judge(metric, evidence, share));
    const verdict = combine(reports);
    const counts = ({ requests, errors }: ArmEvidence) => ({ requests, errors });
    result.last = { time, control: counts(evidence.control), candidate: counts(evidence.candidate), verdict, reports };
    result.looks++;
    // A failure rolls back whatever passed before.
    if (verdict === 'fail' && result.verdict !== 'fail') Object.assign(result, { verdict, decided: result.last });
    if (verdict === 'pass' && result.verdict === 'inconclusive')
      Object.assign(result, { verdict, decided: result.last });
  };
  let nextLook = (records[0]?.time ?? 0) + lookEvery;
  let at = 0;
  for (const record of records) {
    if (record.time >= nextLook) {
      look(at);
      nextLook = record.time + lookEvery;
    }
    at = record.time;
    if (state.add(record)) result.records++;
  }
  if (records.length > 0) look(at);
  result.windows = state.windows;
  return result;
}

interface Sides {
  control: string;
  candidate: string;
  /** By the roles on record; otherwise by variant alone. */
  roles: { control: string; candidate: string } | undefined;
}

function sidesOf({ route, control, candidate }: ReplaySettings): Sides {
  const { variants, strategy } = route.spec;
  for (const name of [control, candidate]) {
    if (name !== undefined && !(name in variants))
      throw new RangeError(
        `no variant is called ${JSON.stringify(name)}; there are ${Object.keys(variants).join(', ')}`,
      );
  }
  if (control !== undefined && candidate !== undefined && control !== candidate)
    return { control, candidate, roles: undefined };
  const { canary } = strategy;
  if (canary === undefined || control !== undefined || candidate !== undefined)
    throw new RangeError(
      `route ${route.metadata.name} does not say what to compare; name two different variants as control and candidate`,
    );
  const role = canary.control === 'matched' ? 'control' : 'stable';
  return { control: canary.stable, candidate: canary.candidate, roles: { control: role, candidate: 'candidate' } };
}

/** Control requests per candidate request, as the record's distribution says; undefined: nothing is compared then. */
function controlRatio(
  { pmf }: LoggedRecord,
  { spec }: RouteDocument,
  { control, candidate, roles }: Sides,
): number | undefined {
  const names = Object.keys(spec.variants);
  if (pmf.length !== names.length) return 1;
  const [a, b] = [pmf[names.indexOf(control)], pmf[names.indexOf(candidate)]];
  if (a === 0 || b === 0) return undefined;
  const ratio = roles?.control === 'control' ? Math.min(1, a / b) : a / b;
  return Math.round(ratio * 1000) / 1000;
}

function countChanges(records: readonly LoggedRecord[], route: RouteDocument, sides: Sides): number {
  let windows = 0;
  let known: number | undefined;
  for (const record of records) {
    if (record.route !== route.metadata.name || !record.analysed || record.shadow) continue;
    const ratio = controlRatio(record, route, sides);
    if (ratio === undefined || ratio === known) continue;
    known = ratio;
    windows++;
  }
  return windows;
}

/** What has been seen since the present window began. */
class Counting {
  readonly leftOut: Record<string, number> = {};
  windows = 1;
  private readonly route: RouteDocument;
  private readonly sides: Sides;
  private readonly shadow: ShadowEvidence;
  private control = noArm();
  private candidate = noArm();
  private ratio: number | undefined;

  constructor(route: RouteDocument, sides: Sides) {
    this.route = route;
    this.sides = sides;
    const compare = route.spec.shadow?.compare;
    this.shadow = new ShadowEvidence({
      output: compare?.output,
      topK: compare?.topK,
      atol: compare?.atol ?? 1e-6,
      rtol: compare?.rtol ?? 1e-5,
    });
  }

  /** False: the record says nothing of either side. */
  add(record: LoggedRecord): boolean {
    const { control, candidate, roles } = this.sides;
    if (record.route !== this.route.metadata.name) return this.leave('of other routes');
    // Copies and what they copy are compared, whoever is analysed.
    if (record.shadow && record.variant !== candidate) return this.leave('copies to other variants');
    this.shadow.add(record);
    if (record.shadow) return true;
    if (!record.analysed) return this.leave('not analysed');
    const side = roles === undefined ? record.assigned : record.role;
    const isControl = side === (roles?.control ?? control);
    if (!isControl && side !== (roles?.candidate ?? candidate)) return this.leave('of neither side');
    const ratio = controlRatio(record, this.route, this.sides);
    if (ratio !== undefined && ratio !== this.ratio) {
      if (this.ratio !== undefined) {
        this.windows++;
        this.control = noArm();
        this.candidate = noArm();
      }
      this.ratio = ratio;
    }
    addToArm(isControl ? this.control : this.candidate, record);
    return true;
  }

  evidence(): Evidence {
    const { compared, mismatched } = this.shadow;
    return { control: this.control, candidate: this.candidate, shadow: { compared, mismatched }, queries: {} };
  }

  private leave(why: string): false {
    this.leftOut[why] = (this.leftOut[why] ?? 0) + 1;
    return false;
  }
}
