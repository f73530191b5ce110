import { commit } from '../../registry/commit.ts';
import { evidenceOf, keepEvidence } from '../../registry/models/decisions.ts';
import { findVersion } from '../../registry/models/find.ts';
import type { Registry } from '../../registry/registry.ts';
import { figuresOf } from '../../registry/tracking/job-runs.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { EvaluationResult } from '../evaluation/result.ts';
import { RegistryCalls } from '../pipelines/tracking.ts';
import { moveTo, versionBehind } from '../pipelines/versions.ts';
import { type ChampionEvaluation, type GateVerdict, judge } from './gate.ts';
import type { JobGate } from './job-gate-schema.ts';

const CHAMPION = 'champion';
const CHALLENGER = 'challenger';

/** What the version's history keeps of it. */
interface Findings extends GateVerdict {
  job: string;
  run: string;
}

/** Metrics in the form of an evaluation without samples, which rules of jobs do not count. */
function asResult(metrics: Record<string, number>): EvaluationResult {
  return { task: 'classification', samples: 0, metrics, slices: [] };
}

/** Judges the version that a job has registered, keeps the evidence with it, and gives it its alias when it passes. */
export class JobGates {
  private readonly registry: Registry;
  private readonly calls: RegistryCalls;

  constructor(registry: Registry) {
    this.registry = registry;
    this.calls = new RegistryCalls(registry.rest.routes);
  }

  /** Resolves with what came out, for people. Can be done again: the same job is judged once. Rejects when the database is away. */
  async judge(job: { id: string; runId: string; actor: string }, gate: JobGate): Promise<string> {
    const { model: name } = gate;
    const version = await this.versionOf(name, job.runId);
    if (version === undefined)
      return `the gate has nothing to judge: the run has registered no version of ${JSON.stringify(name)}`;
    const rules = gate.rules.map((rule) => ({ ...rule, minSamples: 0 }));
    const verdict = judge(rules, asResult(await this.metricsOf(job.runId)), await this.champion(name, version));
    await this.keep({ name, version }, { ...verdict, job: job.id, run: job.runId }, job.actor);
    const told = verdict.rules.filter(({ outcome }) => outcome === verdict.outcome).map(({ reason }) => reason);
    const words = `gate of version ${version}: ${verdict.outcome}: ${told.join('; ')}`;
    if (verdict.outcome !== 'pass' || !gate.challenger) return words;
    const reason = `the gate of job ${job.id} passed`;
    try {
      await moveTo({ calls: this.calls }, { name, version }, CHALLENGER, { actor: job.actor, reason });
      return `${words}; it is ${CHALLENGER} now`;
    } catch (error) {
      if (!(error instanceof SwitchyardError) || error.code === 'unavailable' || error.code === 'internal') throw error;
      return `${words}; it did not become ${CHALLENGER}: ${error.message}`;
    }
  }

  /** The newest one. */
  private async versionOf(name: string, runId: string): Promise<string | undefined> {
    const filter = `name = '${name.replaceAll("'", "''")}' AND run_id = '${runId}'`;
    const request = { filter, max_results: 1, order_by: ['version_number DESC'] };
    return (await this.calls.call('mlflowSearchModelVersions', request)).model_versions?.[0]?.version;
  }

  private async metricsOf(runId: string): Promise<Record<string, number>> {
    const figures = await figuresOf(this.registry.database, [runId]);
    return figures.get(runId)?.metrics ?? {};
  }

  private async champion(name: string, own: string): Promise<ChampionEvaluation> {
    const version = await versionBehind({ calls: this.calls }, name, CHAMPION);
    if (version === undefined || version === own) return 'none';
    const { model_version } = await this.calls.call('mlflowGetModelVersion', { name, version });
    return { version, result: asResult(await this.metricsOf(model_version.run_id ?? '')) };
  }

  private async keep(
    { name, version }: { name: string; version: string },
    findings: Findings,
    actor: string,
  ): Promise<void> {
    const { outcome, job } = findings;
    await commit(this.registry.commits, async (db, at, note) => {
      const known = await evidenceOf(db, await findVersion(db, name, version));
      if (known.some(({ kind, detail }) => kind === 'gate' && (detail as Partial<Findings>).job === job)) return;
      await keepEvidence(db, name, version, { kind: 'gate', outcome, detail: findings, at, actor }, note);
      note({ entity: 'gate', action: 'decided', data: { job, name, version, outcome } });
    });
  }
}
