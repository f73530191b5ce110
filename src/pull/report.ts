import { isSafeName } from '../models/repository/names.ts';
import type { VersionStatus } from '../pipeline/types.ts';
import type { GatewayModel, ReportedDecisions } from '../registry/serving/types.ts';
import type { Place } from './places.ts';

export interface RouteTarget {
  route: string;
  variant: string;
  /** As it is served. */
  model: string;
  version: string;
}

export interface DecisionCount extends RouteTarget, Pick<ReportedDecisions, 'role' | 'requests' | 'errors'> {
  first_at: number;
  last_at: number;
}

/** A registry refuses a report with a longer one, in UTF-16 units; its histories are for people. */
const MAX_PROBLEM = 4000;

/**
 * What the registry is told of the versions here: each that is wanted, and beside it the one that stands until it is ready.
 * One that the manager does not know yet and that nothing stands in the way of is still to come, and is left out.
 *
 * @param index what the manager says of its models
 */
export function reportedModels(
  wanted: ReadonlyMap<string, Place>,
  standing: ReadonlyMap<string, Place>,
  index: readonly { name: string; versions: readonly VersionStatus[] }[],
): GatewayModel[] {
  const states = new Map<string, VersionStatus>();
  for (const { name, versions } of index)
    for (const status of versions) states.set(`${name}/${status.version}`, status);
  const models: GatewayModel[] = [];
  for (const [key, place] of wanted) {
    const before = standing.get(key);
    const places =
      before === undefined || before.deployment.version === place.deployment.version ? [place] : [before, place];
    for (const { deployment, problem } of places) {
      const { name, alias, served, version, digest } = deployment;
      const status = states.get(`${served}/${version}`);
      const obstacle = isSafeName(served) ? problem : unservable(served);
      if (status === undefined && obstacle === '') continue;
      const { state = 'UNAVAILABLE', reason = obstacle } = status ?? {};
      models.push({ served, name, alias, version, digest, state, problem: cut(reason) });
    }
  }
  return models;
}

/** As much of a text as the registry takes, in whole characters. */
function cut(text: string): string {
  if (text.length <= MAX_PROBLEM) return text;
  return `${text.slice(0, MAX_PROBLEM - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}

/**
 * Of what is told by served names, the part about registered models, by theirs.
 *
 * @param names served → registered
 */
export function registeredRows<T extends RouteTarget>(
  rows: readonly T[],
  names: ReadonlyMap<string, string>,
): (Omit<T, 'model'> & { name: string })[] {
  return rows.flatMap(({ model, ...row }) => {
    const name = names.get(model);
    return name === undefined ? [] : [{ ...row, name }];
  });
}

export function unservable(served: string): string {
  return `registered model ${JSON.stringify(served)} cannot be served under its name; list it in models.registry.follow with another one as "served"`;
}
