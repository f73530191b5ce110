export type Level = 'ok' | 'warning' | 'alert';
export type Finding = 'bad' | 'good' | 'unknown';

export interface AlarmSpec {
  windows: number;
  of: number;
  clear: number;
}

/** What is remembered of one signal (drift, or a quality metric) of one version. JSON as it is. */
export interface Alarm {
  level: Level;
  /** When the level was reached; milliseconds since 1970. */
  since: number;
  /** The last windows that told something, oldest first; true = bad. */
  recent: boolean[];
  /** When the first of the bad windows began that led here; 0 = none. */
  changedAt: number;
  reason: string;
}

export const QUIET: Readonly<Alarm> = { level: 'ok', since: 0, recent: [], changedAt: 0, reason: '' };

/**
 * k bad windows of the last n are an alert, one is a warning, and only `clear` good ones in a row end it: a figure that
 * hovers about its limit neither rings nor clears all the time. A window that tells nothing changes nothing.
 */
export function withFinding(
  before: Alarm,
  spec: AlarmSpec,
  finding: Finding,
  window: { from: number; to: number; reason: string },
): Alarm {
  if (finding === 'unknown') return before;
  const bad = finding === 'bad';
  const recent = [...before.recent, bad].slice(-Math.max(spec.of, spec.clear));
  const count = recent.slice(-spec.of).filter(Boolean).length;
  const tail = recent.slice(-spec.clear);
  const calm = tail.length === spec.clear && !tail.includes(true);
  let { level } = before;
  if (count >= spec.windows) level = 'alert';
  else if (calm) level = 'ok';
  else if (level === 'ok' && bad) level = 'warning';
  const changed = level !== before.level;
  return {
    level,
    since: changed ? window.to : before.since,
    recent,
    changedAt: level === 'ok' ? 0 : before.changedAt || window.from,
    reason: level === 'ok' ? '' : bad ? window.reason : before.reason,
  };
}
