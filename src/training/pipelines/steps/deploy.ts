import { setTimeout as sleep } from 'node:timers/promises';
import { ZodError } from 'zod';
import type { RouteDocument } from '../../../config/route-schema.ts';
import { SwitchyardError } from '../../../shared/errors.ts';
import { allAliases, describeProblems, issueProblems } from '../check.ts';
import { type Bodies, parseRoute } from '../document.ts';
import { moveTo, type NamedVersion, versionBehind } from '../versions.ts';
import { type StepContext, type StepOutcome, type StepWork, stepValue } from './context.ts';

const PREVIOUS = 'previous';
const POLL_MS = 250;

type Held = { status: 'held'; reason: string };

/** Whether a person has to say something first. */
async function approval(
  { services, environment, run }: StepContext,
  { name, version }: NamedVersion,
): Promise<Held | undefined> {
  if (!environment.spec.approval) return undefined;
  const { state } = await services.calls.call('registryListApprovals', { name, version, limit: 1 });
  if (state === 'Approved') return undefined;
  const words = state === null ? 'nobody has approved it' : `it is ${state}`;
  return {
    status: 'held',
    reason: `${environment.name} takes approved versions only, and of version ${version} of ${name} ${words}: decide with "switchyard registry approve ${name} ${version}", then "switchyard pipelines resume ${run.id}"`,
  };
}

/** A version goes through the environments in their order. */
export async function checkOrder(
  services: StepContext['services'],
  { name, version }: NamedVersion,
  environment: StepContext['environment'],
  environments: ReadonlyMap<string, StepContext['environment']>,
): Promise<void> {
  const from = environment.spec.promotesFrom;
  if (from === undefined) return;
  const before = environments.get(from);
  const alias = before === undefined ? undefined : allAliases(before.spec).champion;
  if (alias !== undefined) {
    const history = await services.calls.find('registryAliasHistory', { name, alias, limit: 1000 });
    if (history?.moves.some((move: { version: string | null }) => move.version === version) === true) return;
  }
  throw new SwitchyardError(
    'failed_precondition',
    `${environment.name} takes versions that ${from} has deployed, and version ${version} of ${name} never was ${alias ?? 'champion'} there; run the pipeline in ${from} first`,
  );
}

/** Replaces "${version}" and "${champion}" in all texts of a route. */
function withVersions(value: unknown, versions: Record<string, string>): unknown {
  if (typeof value === 'string') return value.replace(/\$\{(version|champion)\}/g, (_, name: string) => versions[name]);
  if (Array.isArray(value)) return value.map((item) => withVersions(item, versions));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withVersions(inner, versions)]));
}

async function applyRoute(
  context: StepContext,
  target: NamedVersion,
  route: Record<string, unknown>,
): Promise<StepOutcome> {
  const { services, environment } = context;
  const champion = await versionBehind(services, target.name, allAliases(environment.spec).champion);
  if (champion === undefined && /\$\{champion\}/.test(JSON.stringify(route))) {
    throw new SwitchyardError(
      'failed_precondition',
      `the route names \${champion}, and ${target.name} has none in ${environment.name} yet; deploy a first version without a route`,
    );
  }
  const document = withVersions(route, { version: target.version, champion: champion ?? '' });
  try {
    const parsed = parseRoute(document);
    if (parsed.kind !== 'Route') throw new SwitchyardError('invalid_argument', 'route: kind must be Route');
  } catch (error) {
    if (error instanceof ZodError)
      throw new SwitchyardError('invalid_argument', `route: ${describeProblems(error.issues.flatMap(issueProblems))}`);
    throw error;
  }
  const { name } = (document as RouteDocument).metadata;
  await services.applyRoute(document as RouteDocument);
  return {
    status: 'succeeded',
    outputs: { artifacts: {}, values: { route: name, version: target } },
    reason: `route ${name} tries version ${target.version}`,
  };
}

/** Resolves when a gateway serves the version. Throws when one says that it cannot, or time is up. */
async function waitServed(
  { services, signal }: StepContext,
  { name, version }: NamedVersion,
  timeoutMs: number,
): Promise<string> {
  const end = performance.now() + timeoutMs;
  let problem = 'no gateway has told of it; does one follow the alias (models.source: registry)?';
  while (performance.now() < end) {
    const answer = await services.calls.find('registryModelGateways', { name });
    const rows = (answer?.gateways ?? []) as {
      gateway_id: string;
      version: string;
      state: string;
      problem: string;
      until: number | null;
    }[];
    const own = rows.filter((row) => row.version === version && row.until === null);
    const ready = own.find((row) => row.state === 'READY');
    if (ready !== undefined) return ready.gateway_id;
    if (own.length > 0)
      problem = own.map((row) => `${row.gateway_id}: ${row.state} ${row.problem}`.trimEnd()).join('; ');
    await sleep(POLL_MS, undefined, { signal });
  }
  throw new SwitchyardError(
    'deadline_exceeded',
    `version ${version} of ${name} is not served after ${timeoutMs / 1000} s: ${problem}`,
  );
}

/** @param environments all that there are now */
export function deployStep(environments: () => ReadonlyMap<string, StepContext['environment']>): StepWork {
  return {
    // Cheap, and what an alias names may have changed.
    facts: async () => undefined,
    execute: async (context): Promise<StepOutcome> => {
      const { services, step, run, environment } = context;
      const body = step.deploy as Bodies['deploy'];
      const target = stepValue<NamedVersion>(context, body.version, 'version');
      const held = await approval(context, target);
      if (held !== undefined) return held;
      await checkOrder(services, target, environment, environments());
      if (body.route !== undefined) return applyRoute(context, target, body.route);
      const aliases = allAliases(environment.spec);
      const alias = Object.hasOwn(aliases, body.alias) ? aliases[body.alias] : body.alias;
      const why = { actor: run.actor, reason: `pipeline ${run.pipeline} in ${environment.name}, run ${run.id}` };
      const before = await versionBehind(services, target.name, alias);
      // What is replaced is remembered first: a server that stops in between does both when it is back.
      if (body.alias === 'champion' && before !== undefined && before !== target.version) {
        const old = { name: target.name, version: before };
        await moveTo(services, old, aliases[PREVIOUS] ?? PREVIOUS, {
          ...why,
          reason: `replaced as ${alias}: ${why.reason}`,
        });
      }
      await moveTo(services, target, alias, why);
      const served =
        body.served === undefined ? '' : `, served by ${await waitServed(context, target, body.served.timeout)}`;
      const values = { alias, version: target, previous: before ?? null };
      return {
        status: 'succeeded',
        outputs: { artifacts: {}, values },
        reason: `${alias} of ${target.name} is version ${target.version}${served}`,
      };
    },
  };
}
