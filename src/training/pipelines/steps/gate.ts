import { SwitchyardError } from '../../../shared/errors.ts';
import { type ChampionEvaluation, type GateVerdict, judge } from '../../gates/gate.ts';
import { allAliases } from '../check.ts';
import type { Bodies } from '../document.ts';
import { moveTo, type NamedVersion } from '../versions.ts';
import { type StepContext, type StepOutcome, type StepWork, stepValue } from './context.ts';
import type { ChampionValue } from './evaluate.ts';

/** What a gate found out, as later steps and the version's history keep it. */
export interface GateFindings extends GateVerdict {
  evaluation: string;
  pipeline_run: string;
  step: string;
  environment: string;
}

/** Keeps a gate's findings with a version, once. */
export async function addEvidence(
  { services, run }: StepContext,
  { name, version }: NamedVersion,
  findings: GateFindings,
): Promise<void> {
  const known = await services.calls.call('registryListEvidence', { name, version, limit: 100 });
  const same = (row: { kind: string; detail?: Partial<GateFindings> }): boolean =>
    row.kind === 'gate' &&
    row.detail?.evaluation === findings.evaluation &&
    row.detail.step === findings.step &&
    row.detail.pipeline_run === findings.pipeline_run;
  if (known.evidence.some(same)) return;
  await services.calls.call(
    'registryAddEvidence',
    { name, version, kind: 'gate', outcome: findings.outcome, detail: findings },
    run.actor,
  );
}

/** The version is the next that users might get. */
export async function makeChallenger(
  context: StepContext,
  target: NamedVersion,
  findings: GateFindings,
): Promise<string> {
  const { run, environment, services } = context;
  const alias = allAliases(environment.spec).challenger;
  const reason = `gate ${findings.step} passed in pipeline run ${run.id}`;
  await moveTo(services, target, alias, { actor: run.actor, reason });
  return alias;
}

async function championEvaluation({ services }: StepContext, seen: ChampionValue): Promise<ChampionEvaluation> {
  if (seen === 'none') return 'none';
  if (seen === null || 'error' in seen) return 'missing';
  const found = await services.evaluations.get(seen.evaluation);
  return found === undefined ? 'missing' : { version: seen.version, result: found.result };
}

function told(verdict: GateVerdict, seen: ChampionValue): string {
  const important = verdict.rules.filter(({ outcome }) => outcome === verdict.outcome);
  const error =
    seen !== null && seen !== 'none' && 'error' in seen ? `; the champion could not be evaluated: ${seen.error}` : '';
  return important.map(({ reason }) => reason).join('; ') + (verdict.outcome === 'hold' ? error : '');
}

export const gate: StepWork = {
  // The champion may have changed: it is judged every time.
  facts: async () => undefined,
  execute: async (context): Promise<StepOutcome> => {
    const { services, step, run, environment } = context;
    const body = step.gate as Bodies['gate'];
    const id = stepValue<string>(context, body.evaluation, 'evaluation');
    const seen = stepValue<ChampionValue>(context, body.evaluation, 'champion');
    const evaluation = await services.evaluations.get(id);
    if (evaluation === undefined)
      throw new SwitchyardError('failed_precondition', `the evaluation ${id} is gone; run the evaluate step again`);
    const verdict = judge(body.rules, evaluation.result, await championEvaluation(context, seen));
    const findings: GateFindings = {
      ...verdict,
      evaluation: id,
      pipeline_run: run.id,
      step: step.name,
      environment: environment.name,
    };
    const outputs = { artifacts: {}, values: { findings, outcome: verdict.outcome } };
    let promoted = '';
    if (body.version !== undefined) {
      const target = stepValue<NamedVersion>(context, body.version, 'version');
      await addEvidence(context, target, findings);
      if (verdict.outcome === 'pass' && body.challenger)
        promoted = `; it is ${await makeChallenger(context, target, findings)} now`;
    }
    const data = { pipeline_run: run.id, step: step.name, outcome: verdict.outcome, evaluation: id };
    const kept = { outputs, happenings: [{ entity: 'gate', action: 'decided', data }] };
    const reason = told(verdict, seen);
    if (verdict.outcome === 'pass') return { ...kept, status: 'succeeded', reason: reason + promoted };
    if (verdict.outcome === 'hold')
      return { ...kept, status: 'held', reason: `nobody can tell yet: ${reason}; mend it and resume the run` };
    return { ...kept, status: 'failed', reason: `the gate is not passed: ${reason}` };
  },
};
