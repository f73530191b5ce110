/** What one line of a job's output says about its run. */
export interface LineFindings {
  metrics: { key: string; value: number }[];
  /** undefined: the line names none. */
  step: number | undefined;
  /** 0 to 1. */
  progress: number | undefined;
}

const MAX_LINE = 4096;
const MAX_METRICS = 100;
const NUMBER = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|NaN|inf|Infinity)`;
const ASSIGNMENT = new RegExp(String.raw`(?<![\w./-])([A-Za-z_][\w./-]{0,100})=(${NUMBER})(?![\w.])`, 'g');
/** Numbers in quotes have a point or an exponent: without one they are texts more often. */
const QUOTED = String.raw`[+-]?\d*\.\d+(?:[eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+|nan`;
const DICT_ENTRY = new RegExp(
  String.raw`['"]([\w./ -]{1,100})['"]\s*:\s*(?:(${NUMBER})|['"](${QUOTED})['"])\s*[,}]`,
  'g',
);
/** tqdm's bars: " 45%|████▌     | 450/1000 [00:10<00:12, 43.9it/s]". */
const BAR = /^.{0,80}?\b(\d{1,3})%\|[^|]{0,200}\|\s*(\d+)\/(\d+)/;
const PROGRESS = /(?<![\w./-])progress\s*[=:]\s*(\d+(?:\.\d+)?)(%?)/i;
const EPOCH = /^\s*\[?epoch\]?\s*[:#]?\s*(\d+)\s*\/\s*(\d+)/i;
const STEPS = new Set(['step', 'global_step', 'iteration', 'iter']);

/** Reads lines of the forms that scripts print anyway. `source` and `pattern` are the job's. */
export class LineReader {
  private readonly dictsOnly: boolean;
  private readonly silent: boolean;
  private readonly pattern: LinePattern | undefined;

  constructor(source: 'mlflow' | 'stdout' | 'hf', pattern: string | undefined) {
    this.silent = source === 'mlflow';
    this.dictsOnly = source === 'hf';
    this.pattern = pattern === undefined ? undefined : new LinePattern(pattern);
  }

  read(text: string): LineFindings {
    const line = text.slice(0, MAX_LINE);
    const progress = progressOf(line);
    if (this.silent) return { metrics: [], step: undefined, progress };
    const matched = this.pattern?.read(line);
    if (matched !== undefined) return { ...matched, progress };
    const pairs = dictPairs(line) ?? (this.dictsOnly ? [] : assignments(line));
    return { ...sorted(pairs), progress };
  }
}

function progressOf(line: string): number | undefined {
  const given = PROGRESS.exec(line);
  if (given !== null) return bounded(Number(given[1]) / (given[2] === '%' ? 100 : 1));
  const bar = BAR.exec(line);
  if (bar !== null) return bounded(Number(bar[2]) / Math.max(1, Number(bar[3])));
  const epoch = EPOCH.exec(line);
  return epoch === null ? undefined : bounded(Number(epoch[1]) / Math.max(1, Number(epoch[2])));
}

function bounded(fraction: number): number {
  return Math.min(1, Math.max(0, fraction));
}

/** `{'loss': 0.5, 'epoch': 1.0}` as Python prints it, or JSON. Undefined: the line is none. */
function dictPairs(line: string): [string, number][] | undefined {
  const trimmed = line.trim();
  if (!trimmed.startsWith('{') || !trimmed.endsWith('}')) return undefined;
  return Array.from(trimmed.matchAll(DICT_ENTRY), ([, key, plain, quoted]) => [key, toNumber(plain ?? quoted)]);
}

function assignments(line: string): [string, number][] {
  return Array.from(line.matchAll(ASSIGNMENT), ([, key, value]) => [key, toNumber(value)]);
}

function sorted(pairs: readonly [string, number][]): Pick<LineFindings, 'metrics' | 'step'> {
  let step: number | undefined;
  let epoch: number | undefined;
  const metrics: LineFindings['metrics'] = [];
  for (const [key, value] of pairs.slice(0, MAX_METRICS)) {
    if (STEPS.has(key) && Number.isSafeInteger(value)) step = value;
    else if (key === 'epoch' && Number.isSafeInteger(value)) epoch = value;
    if (STEPS.has(key) || key === 'progress' || key === 'epoch') continue;
    metrics.push({ key, value });
  }
  return { metrics, step: step ?? epoch };
}

/** As Python, JSON and people write numbers. */
function toNumber(text: string): number {
  const lower = text.toLowerCase();
  if (/nan/.test(lower)) return Number.NaN;
  if (/inf/.test(lower)) return lower.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return Number(text);
}

/**
 * A line as the job says it looks: "epoch {step}: accuracy {accuracy}". What it becomes repeats only characters of one
 * kind at a time, and lines are cut, so that no output can hold the server up.
 */
class LinePattern {
  private readonly expression: RegExp;
  private readonly names: string[] = [];

  constructor(pattern: string) {
    const parts = pattern.split(/\{([A-Za-z_][\w./-]*)\}/);
    const source = parts.map((part, i) => {
      if (i % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\s+/g, '\\s+');
      this.names.push(part);
      if (part === 'name') return '([A-Za-z_][\\w./-]{0,100})';
      return part === 'step' ? '(\\d{1,15})' : `(${NUMBER})`;
    });
    this.expression = new RegExp(source.join(''));
  }

  read(line: string): Pick<LineFindings, 'metrics' | 'step'> | undefined {
    const match = this.expression.exec(line);
    if (match === null) return undefined;
    const values = new Map(this.names.map((name, i) => [name, match[i + 1]]));
    const metrics: LineFindings['metrics'] = [];
    const named = values.get('name');
    for (const [name, value] of values) {
      if (name === 'name' || name === 'step') continue;
      if (name === 'value' && named !== undefined) metrics.push({ key: named, value: toNumber(value) });
      else metrics.push({ key: name, value: toNumber(value) });
    }
    const step = values.get('step');
    return { metrics, step: step === undefined ? undefined : Number(step) };
  }
}
