import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RouteDocument } from '../../config/route-schema.ts';
import { ConfigError } from '../../config/yaml-file.ts';
import { commit } from '../../registry/commit.ts';
import { moveAlias, pointsTo } from '../../registry/models/aliases.ts';
import { keepEvidence } from '../../registry/models/decisions.ts';
import type { Registry } from '../../registry/registry.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { type Comparison, compareEvaluations } from '../evaluation/compare.ts';
import { type Evaluation, type EvaluationQuery, Evaluations } from '../evaluation/store.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { TriggerStore } from '../triggers/store.ts';
import { Triggers } from '../triggers/triggers.ts';
import { type Change, PipelineBook } from './book.ts';
import { allAliases } from './check.ts';
import { PipelineEngine } from './engine.ts';
import { readDocument } from './load.ts';
import type { StepContext, StepServices } from './steps/context.ts';
import { checkOrder } from './steps/deploy.ts';
import { PipelineStore, type RunQuery, type RunSummary } from './store.ts';
import { RegistryCalls } from './tracking.ts';
import { versionBehind } from './versions.ts';
import type { FullRunView } from './view.ts';

export interface PipelinesParts {
  config: { files: readonly string[]; environment: string };
  baseDir: string;
  dataDir: string;
  /** Reject while the registry cannot be opened. */
  registry(): Promise<Registry>;
  jobs(): Promise<Jobs>;
  applyRoute(document: RouteDocument): Promise<void>;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

interface Opened {
  store: PipelineStore;
  services: StepServices;
  engine: PipelineEngine;
  triggers: Triggers;
  evaluations: Evaluations;
}

export interface RunWish {
  /** Name of a pipeline, or a whole document that is run once. */
  pipeline: string | object;
  environment?: string | undefined;
  parameters: Record<string, string | number | boolean>;
  actor: string;
  reason: string;
  commit?: string | undefined;
  idempotencyKey?: string | undefined;
}

/** A kept document, as lists show it. */
export interface DocumentRow {
  name: string;
  origin: 'file' | 'api';
  document: object;
}

/** Pipelines, their runs, triggers and evaluations, as the admin port and src/main.ts hold them. */
export class Pipelines {
  private readonly parts: PipelinesParts;
  private readonly book: PipelineBook;
  private opening: Promise<Opened> | undefined;
  private closed = false;

  /** Reads the pipeline files. Throws ConfigError. */
  constructor(parts: PipelinesParts) {
    this.parts = parts;
    this.book = new PipelineBook(parts.config.files, parts.baseDir, parts.config.environment);
    this.book.readFiles();
  }

  /** Goes on with runs that were under way, now or when the registry can be opened. Never rejects. */
  async start(): Promise<void> {
    for (let wait = 1000; !this.closed; wait = Math.min(2 * wait, 30_000)) {
      try {
        await this.open();
        return;
      } catch (error) {
        this.parts.log('warn', 'pipelines wait for the registry', { err: error });
        await new Promise((resolve) => setTimeout(resolve, wait).unref());
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    const opened = await this.opening?.catch(() => undefined);
    await opened?.triggers.close();
    await opened?.engine.close();
  }

  documents(kind: 'Pipeline' | 'PipelineEnvironment'): DocumentRow[] {
    const { pipelines, environments } = this.book.set;
    const found: [string, object][] =
      kind === 'Pipeline' ? [...pipelines].map(([name, { document }]) => [name, document]) : [...environments];
    return found
      .map(([name, document]) => ({ name, origin: this.book.origin(kind, name), document }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** All changes or none. Throws SwitchyardError with every problem. */
  async change(changes: readonly Change[], dryRun: boolean): Promise<void> {
    this.book.change(changes, true);
    if (dryRun) return;
    const { store, services } = await this.open();
    const rows = changes.map(({ kind, name, body }) => ({
      kind,
      name,
      body: body === undefined ? undefined : JSON.stringify(body),
    }));
    await store.putDocuments(rows, services.now());
    this.book.change(changes, false);
  }

  /** Reads the files again. Returns the problems; with any, everything stays as it was. */
  reload(): string[] {
    try {
      this.book.readFiles();
      return [];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return error.problems;
    }
  }

  async run(wish: RunWish): Promise<FullRunView> {
    const { engine } = await this.open();
    const environment = this.environment(wish.environment ?? this.parts.config.environment);
    const pipeline = typeof wish.pipeline === 'string' ? this.pipeline(wish.pipeline) : this.oneTime(wish.pipeline);
    const id = wish.idempotencyKey === undefined ? undefined : runIdOf(wish.idempotencyKey);
    return engine.begin({
      pipeline,
      environment,
      parameters: wish.parameters,
      actor: wish.actor,
      cause: wish.reason === '' ? `by ${wish.actor}` : wish.reason,
      commit: wish.commit,
      ...(id === undefined ? {} : { id }),
    });
  }

  async runs(query: RunQuery): Promise<RunSummary[]> {
    return (await this.open()).store.runs(query);
  }

  async getRun(id: string): Promise<FullRunView> {
    return (await this.open()).engine.get(id);
  }

  async cancel(id: string, by: { actor: string; reason: string }): Promise<FullRunView> {
    return (await this.open()).engine.cancel(id, by);
  }

  async resume(id: string): Promise<FullRunView> {
    return (await this.open()).engine.resume(id);
  }

  async triggers(): Promise<Triggers> {
    return (await this.open()).triggers;
  }

  async evaluation(id: string): Promise<Evaluation> {
    const found = await (await this.open()).evaluations.get(id);
    if (found !== undefined) return found;
    throw new SwitchyardError('not_found', `there is no evaluation ${JSON.stringify(id.slice(0, 100))}`);
  }

  async evaluations(query: EvaluationQuery): Promise<Evaluation[]> {
    return (await this.open()).evaluations.list(query);
  }

  /** Versions of a model side by side, each by its newest evaluation on the dataset that most of them have. */
  async compare(model: string, versions: readonly string[], dataset: string | undefined): Promise<Comparison> {
    const { evaluations } = await this.open();
    const found = await evaluations.list({ model, dataset, before: Number.MAX_SAFE_INTEGER, limit: 1000 });
    return compareEvaluations(model, versions, found);
  }

  /**
   * Gives another environment's champion the champion's alias here, as its moves and evidence tell for ever. Throws
   * failed_precondition when this environment does not take it.
   */
  async promote(wish: { model: string; from: string; to: string; actor: string; reason: string }): Promise<object> {
    const { services } = await this.open();
    const { model: name, actor } = wish;
    const [from, to] = [this.environment(wish.from), this.environment(wish.to)];
    const source = allAliases(from.spec).champion;
    const alias = allAliases(to.spec).champion;
    if (source === alias)
      throw invalidArgument(
        `${wish.from} and ${wish.to} have the same champion, alias ${alias}; nothing is to be promoted`,
      );
    const version = await versionBehind(services, name, source);
    if (version === undefined)
      throw new SwitchyardError(
        'failed_precondition',
        `${name} has no version in ${wish.from}: there is no alias ${source}`,
      );
    await checkOrder(services, { name, version }, to, this.book.environments());
    if (to.spec.approval) {
      const { state } = await services.calls.call('registryListApprovals', { name, version, limit: 1 });
      if (state !== 'Approved')
        throw new SwitchyardError(
          'failed_precondition',
          `${wish.to} takes approved versions only; approve version ${version} of ${name} first`,
        );
    }
    const words = `promoted from ${wish.from} to ${wish.to}${wish.reason === '' ? '' : `: ${wish.reason}`}`;
    const between = { from: wish.from, to: wish.to, alias };
    const { context } = services.registry.models;
    const previous = await commit(context, async (db, at, note) => {
      const before = await pointsTo(db, name, alias);
      const why = { actor, reason: words };
      const moved = await moveAlias(db, at, { name, alias, version, expected: before, ...why }, context, note);
      if (moved === undefined) return version;
      const detail = { ...between, previous: before === null ? null : String(before), reason: wish.reason };
      const evidence = { kind: 'promotion', outcome: 'pass' as const, detail, at, actor };
      await keepEvidence(db, name, version, evidence, note);
      note({ entity: 'promotion', action: 'created', data: { name, version, ...detail, actor } });
      return detail.previous;
    });
    return { model: name, version, ...between, previous };
  }

  private pipeline(name: string) {
    const found = this.book.set.pipelines.get(name);
    if (found !== undefined) return found;
    const known = [...this.book.set.pipelines.keys()].join(', ') || 'none';
    throw new SwitchyardError(
      'not_found',
      `there is no pipeline ${JSON.stringify(name.slice(0, 140))}; there are ${known}`,
    );
  }

  private oneTime(document: object) {
    const { kind, name } = readDocument(document);
    if (kind !== 'Pipeline') throw invalidArgument(`only a Pipeline can be run, not a ${kind}`);
    return { name, document: document as Record<string, unknown> };
  }

  private environment(name: string): StepContext['environment'] {
    const all = this.book.environments();
    const found = all.get(name);
    if (found !== undefined) return found;
    throw new SwitchyardError(
      'not_found',
      `there is no environment ${JSON.stringify(name.slice(0, 140))}; there are ${[...all.keys()].join(', ')}`,
    );
  }

  private open(): Promise<Opened> {
    this.opening ??= this.wire().catch((error: unknown) => {
      this.opening = undefined;
      throw error;
    });
    return this.opening;
  }

  private async wire(): Promise<Opened> {
    const { parts } = this;
    const registry = await parts.registry();
    const jobs = await parts.jobs();
    const calls = new RegistryCalls(registry.rest.routes);
    const store = new PipelineStore(registry.commits);
    const evaluations = new Evaluations(registry.commits);
    const now = Date.now;
    const services: StepServices = {
      registry,
      calls,
      jobs,
      evaluations,
      applyRoute: parts.applyRoute,
      baseDir: parts.baseDir,
      now,
    };
    for (const problem of this.book.restore(await store.documents()))
      parts.log('error', 'a pipeline document made over the API is left out', { problem });
    const folder = join(parts.dataDir, 'pipelines');
    const owner = serverId(folder);
    const engine = new PipelineEngine({
      store,
      services,
      owner,
      folder: join(folder, 'work'),
      environments: () => this.book.environments(),
      log: parts.log,
    });
    const triggers = new Triggers({
      store: new TriggerStore(registry.commits),
      runs: store,
      calls,
      owner,
      baseDir: parts.baseDir,
      documents: () => this.book.set.triggers,
      begin: async (trigger, spec, cause, id) => {
        const environment = this.environment(spec.environment ?? parts.config.environment);
        const pipeline = this.pipeline(spec.pipeline);
        return (
          await engine.begin({
            pipeline,
            environment,
            parameters: spec.parameters,
            actor: `trigger ${trigger}`,
            cause,
            trigger,
            id,
          })
        ).id;
      },
      now,
      log: parts.log,
    });
    await engine.start();
    registry.events.subscribe((event) => void triggers.event(event));
    triggers.start();
    return { store, services, engine, triggers, evaluations };
  }
}

/** Of this server, the same after a restart with its data folder. */
function serverId(folder: string): string {
  const file = join(folder, 'server-id');
  if (existsSync(file)) return readFileSync(file, 'utf8').trim();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const id = randomUUID();
  writeFileSync(file, `${id}\n`);
  return id;
}

function runIdOf(key: string): string {
  if (/^[a-z0-9]{8,40}$/.test(key)) return key;
  throw invalidArgument(
    `idempotency_key: ${JSON.stringify(key.slice(0, 60))} is not allowed; give 8 to 40 lower-case letters and digits, which become the id of the run`,
  );
}
