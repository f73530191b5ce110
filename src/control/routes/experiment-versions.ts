import type { RouteSpec } from '../../config/route-schema.ts';
import { printAnew, type Standing } from './standing.ts';

const HISTORY = 50;

/**
 * Takes in which versions the arms are served by now ('' for none). An arm that has become another version, such as by
 * an alias that was moved, begins the experiment anew, as another version in the file would: results of both together
 * would be of neither. Users stay with their arms.
 */
export function withVersions(
  { strategy }: RouteSpec,
  standing: Standing,
  served: Record<string, string>,
  now: number,
): Standing {
  const known = standing.versions ?? {};
  const versions: Record<string, string> = {};
  const changes: string[] = [];
  for (const arm of Object.keys(strategy.experiment?.split ?? {})) {
    const before = known[arm] ?? '';
    versions[arm] = served[arm] || before;
    if (before !== '' && versions[arm] !== before)
      changes.push(`${arm} is version ${versions[arm]} now, not ${before}`);
  }
  if (JSON.stringify(versions) === JSON.stringify(known)) return standing;
  if (changes.length === 0) return { ...standing, versions };
  const version = standing.state.version + 1;
  const history = [...(standing.history ?? []), { at: now, message: `begins anew: ${changes.join(', ')}` }];
  return {
    print: printAnew(standing.print, version),
    state: { ...standing.state, version, analysed: true },
    slots: standing.slots,
    versions,
    history: history.slice(-HISTORY),
  };
}

/**
 * Whether what a version of an arm did is measured. Until a gateway has read what an alias means now, or loaded what is the
 * newest, it serves the version before, or the one to come; '' = not known which it was.
 */
export function isMeasured(standing: Standing, arm: string, version: string): boolean {
  const measured = standing.versions?.[arm] ?? '';
  return measured === '' || version === '' || version === measured;
}
