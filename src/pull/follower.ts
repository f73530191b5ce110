import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSafeName } from '../models/repository/names.ts';
import type { ScannedModel } from '../models/repository/scan.ts';
import { Coalesced, Semaphore } from '../models/serial.ts';
import type { VersionStatus } from '../pipeline/types.ts';
import { parseRequirements, type ServingFacts, unmetRequirements } from '../registry/serving/requirements.ts';
import type { Deployment, Follow, GatewayReport, Resolution } from '../registry/serving/types.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { readState, writeState } from './kept-state.ts';
import { keyOf, type Place, sameDeployment, servedVersions } from './places.ts';
import { RecentVersions } from './recent-versions.ts';
import { type DecisionCount, type RouteTarget, registeredRows, reportedModels, unservable } from './report.ts';
import { servedModel } from './served-model.ts';
import type { RegistrySource } from './source.ts';
import type { LocalVersion, VersionStore } from './version-store.ts';

export interface FollowerParts {
  source: RegistrySource;
  store: VersionStore;
  follow: Follow;
  /** Of our own. */
  folder: string;
  /** Versions that nothing points to any more and that stay at hand, per served model. */
  keepVersions: number;
  facts(): ServingFacts;
  /** Makes the manager serve these, and resolves when it does or has a reason not to. */
  provide(models: ReadonlyMap<string, ScannedModel>): Promise<void>;
  /** What the manager says of its models. */
  index(): Promise<{ name: string; versions: VersionStatus[] }[]>;
  /** Which versions the gateway's routes lead to, and what they decided so far, by the names models are served under. */
  traffic(): { routes: RouteTarget[]; decisions: DecisionCount[] };
  /** Has routes read aliases anew, and resolves when they go by them. Never rejects. */
  onMoved(): Promise<unknown>;
  /** Proves a version that may be served soon, so that serving it takes no proof. */
  prove(model: ScannedModel): Promise<void>;
  gateway: Pick<GatewayReport, 'gateway_id' | 'host' | 'program_version' | 'started_at'>;
  log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void;
  reportMs?: number;
}

const REPORT_MS = 10_000;
/** An end waits no longer for the registry. */
const LAST_REPORT_MS = 1000;
const BACKOFF_MS = { first: 250, longest: 5000 };
/** A version that is not what it should be may be mended over there. */
const REFUSED_MS = 60_000;
const PARALLEL = 3;
/** A replaced version waits no longer for routes to let go of it. */
const LET_GO_MS = 2000;
const REFUSALS = new Set(['failed_precondition', 'permission_denied', 'invalid_argument']);

/** Makes this gateway serve what a registry's aliases point to, and goes on with what it has when the registry is away. */
export class RegistryFollower {
  private readonly parts: FollowerParts;
  private readonly stateFile: string;
  private readonly ending = new AbortController();
  private readonly slots = new Semaphore(PARALLEL);
  private readonly publisher = new Coalesced(() => this.publish(), false);
  private readonly reporter = new Coalesced(() => this.report(), false);
  private wanted = new Map<string, Place>();
  /** The last that was ready, by the same keys. */
  private readonly standing = new Map<string, Place>();
  private readonly recent: RecentVersions;
  /** Served → registered name, of all that was followed since the start. */
  private readonly names = new Map<string, string>();
  private mark = '';
  private away = false;
  /** What versions with requirements lacked when they were last published. */
  private judged = '[]';
  private warned = new Set<string>();
  private loops: Promise<void>[] = [];

  constructor(parts: FollowerParts) {
    this.parts = parts;
    this.stateFile = join(parts.folder, 'state.json');
    this.recent = new RecentVersions(parts.keepVersions);
  }

  /** Puts up what was served last, from this machine alone. Call it before the manager starts. */
  async restore(): Promise<void> {
    await mkdir(this.parts.folder, { recursive: true, mode: 0o700 });
    const state = await readState(this.stateFile, this.parts.follow);
    if (state === undefined) return;
    const places = (list: Deployment[]): Place[] =>
      list.map((deployment) => ({ deployment, local: undefined, problem: '' }));
    const wanted = places(state.wanted);
    const standing = places(state.standing);
    this.recent.restore(state.recent);
    await Promise.all([...wanted, ...standing].map((place) => this.prepare(place, OFFLINE)));
    for (const place of wanted) this.wanted.set(keyOf(place.deployment), place);
    for (const { deployment } of wanted) this.names.set(deployment.served, deployment.name);
    for (const place of standing) if (place.local !== undefined) this.standing.set(keyOf(place.deployment), place);
    await this.publisher.request();
  }

  /** Follows from now on, until `stop`. */
  start(): void {
    this.loops = [this.followLoop(), this.reportLoop()];
  }

  async stop(): Promise<void> {
    this.ending.abort();
    await Promise.all(this.loops);
    // The last counts, unless the registry is away.
    await Promise.race([this.report().catch(() => {}), sleep(LAST_REPORT_MS, undefined, { ref: false })]);
  }

  /** The models that are served have changed: what a version needs beside it may have come, or gone. */
  tableChanged(): void {
    if (!this.ending.signal.aborted && this.verdicts() !== this.judged) this.background(this.publisher.request());
  }

  private verdicts(): string {
    const verdicts: [string, string][] = [];
    for (const [key, { deployment, local }] of this.wanted)
      if (local !== undefined && deployment.requirements !== '') verdicts.push([key, this.unmet(deployment, local)]);
    return JSON.stringify(verdicts);
  }

  private async followLoop(): Promise<void> {
    const { signal } = this.ending;
    let wait = BACKOFF_MS.first;
    while (!signal.aborted) {
      try {
        const asked = performance.now();
        const resolution = await this.parts.source.watch(this.parts.follow, this.mark, signal);
        if (signal.aborted) return;
        wait = BACKOFF_MS.first;
        this.setAway(false, '');
        if (resolution.mark !== this.mark) this.take(resolution);
        // One that is about to end, or that something stands in front of, does not wait for a change.
        else if (performance.now() - asked < BACKOFF_MS.first) await this.pause(BACKOFF_MS.first);
        this.mark = resolution.mark;
      } catch (error) {
        if (signal.aborted) return;
        this.setAway(true, toSwitchyardError(error).message);
        await this.pause(wait);
        wait = Math.min(wait * 2, BACKOFF_MS.longest);
      }
    }
  }

  private setAway(away: boolean, reason: string): void {
    if (this.away === away) return;
    this.away = away;
    if (away) this.parts.log('warn', `the registry is away, its models are served from here: ${reason}`, {});
    else this.parts.log('info', 'the registry answers again', {});
  }

  /** A new answer of the registry: what is new is fetched, what is no longer wanted goes. */
  private take({ deployments, upcoming }: Resolution): void {
    const before = this.wanted;
    this.wanted = new Map();
    for (const deployment of deployments) {
      const key = keyOf(deployment);
      this.names.set(deployment.served, deployment.name);
      const known = before.get(key);
      const same = known?.local !== undefined && sameDeployment(known.deployment, deployment);
      const place = same ? known : { deployment, local: undefined, problem: '' };
      this.wanted.set(key, place);
      if (!same) this.background(this.bring(place));
    }
    for (const deployment of upcoming) void this.foresee(deployment);
    void this.parts.onMoved();
    this.background(this.publisher.request());
  }

  /** Fetches and publishes, and tries again while it is wanted and not here. */
  private async bring(place: Place): Promise<void> {
    const current = (): boolean => !this.ending.signal.aborted && this.wanted.get(keyOf(place.deployment)) === place;
    let wait = BACKOFF_MS.first;
    while (current()) {
      const outcome = await this.prepare(place, this.parts.source);
      if (!current()) return;
      await this.publisher.request();
      if (outcome === 'here') return;
      await this.pause(outcome === 'refused' ? REFUSED_MS : wait);
      wait = Math.min(wait * 2, BACKOFF_MS.longest);
    }
  }

  private async prepare(place: Place, source: RegistrySource): Promise<'here' | 'later' | 'refused'> {
    const { name, version } = place.deployment;
    try {
      place.local = await this.slots.run(() => this.parts.store.prepare(place.deployment, source));
      place.problem = '';
      return 'here';
    } catch (error) {
      const { code, message } = toSwitchyardError(error);
      const refused = REFUSALS.has(code);
      if (place.problem !== message) {
        const text = `version ${version} of registered model "${name}" cannot be brought here: ${message}`;
        this.parts.log(refused ? 'error' : 'warn', text, { model: name, version });
      }
      place.problem = message;
      return refused ? 'refused' : 'later';
    }
  }

  /** Brings the newest version of a followed model, and proves it: an alias will most likely move there. */
  private async foresee(deployment: Deployment): Promise<void> {
    const { served, digest } = deployment;
    if (digest === '' || !isSafeName(served)) return;
    try {
      const local = await this.slots.run(() => this.parts.store.prepare(deployment, this.parts.source));
      this.recent.remember(deployment);
      if (this.unmet(deployment, local) !== '') return;
      await this.parts.prove(
        await servedModel(served, join(this.parts.folder, 'foreseen'), [local.scanned], local.config),
      );
    } catch {
      // What is wrong with it is told when it is to be served.
    }
  }

  /** Hands what should be served to the manager. Does not wait for it: another model may take its time. */
  private async publish(): Promise<void> {
    const models = new Map<string, ScannedModel>();
    this.judged = this.verdicts();
    const chosen = servedVersions(this.wanted, this.standing, (deployment, local) => this.unmet(deployment, local));
    for (const [served, { versions, config }] of chosen) {
      if (isSafeName(served))
        models.set(served, await servedModel(served, join(this.parts.folder, 'models'), versions, config));
      else this.warnOnce(unservable(served));
    }
    await this.save();
    const provided = this.parts.provide(models).then(() => this.settle());
    this.background(provided);
  }

  /** What is ready stands from now on, and what it has replaced goes. */
  private async settle(): Promise<void> {
    const ready = new Set<string>();
    for (const { name, versions } of await this.parts.index())
      for (const { version, state } of versions) if (state === 'READY') ready.add(`${name}/${version}`);
    const fresh = [...this.wanted].filter(([key, place]) => {
      const { served, version } = place.deployment;
      return place.local !== undefined && ready.has(`${served}/${version}`) && this.standing.get(key) !== place;
    });
    // A route that still goes by the version before would find nothing in its place.
    if (fresh.some(([key]) => this.standing.has(key)))
      await Promise.race([this.parts.onMoved(), sleep(LET_GO_MS, undefined, { ref: false })]);
    let replaced = false;
    for (const [key, place] of fresh) {
      if (this.wanted.get(key) !== place || this.standing.get(key) === place) continue;
      replaced = true;
      this.standing.set(key, place);
      this.recent.remember(place.deployment);
    }
    for (const key of this.standing.keys()) if (!this.wanted.has(key)) this.standing.delete(key);
    if (replaced) this.background(this.publisher.request());
    else await this.parts.store.keepOnly(() => this.recent.atHand(this.deployments()));
    await this.reporter.request();
  }

  private unmet({ requirements }: Deployment, local: LocalVersion): string {
    if (requirements === '') return '';
    try {
      return unmetRequirements(parseRequirements(requirements), this.parts.facts(), local.files).join('; ');
    } catch (error) {
      return toSwitchyardError(error).message;
    }
  }

  private deployments(): Deployment[] {
    return [...this.wanted.values(), ...this.standing.values()].map(({ deployment }) => deployment);
  }

  private async save(): Promise<void> {
    const wanted = [...this.wanted.values()].map(({ deployment }) => deployment);
    const standing = [...this.standing.values()].map(({ deployment }) => deployment);
    try {
      await writeState(this.stateFile, { wanted, standing, recent: this.recent.list() });
    } catch (error) {
      this.parts.log('warn', `what is served cannot be kept on disk: ${toSwitchyardError(error).message}`, {});
    }
  }

  private async reportLoop(): Promise<void> {
    while (!this.ending.signal.aborted) {
      await this.reporter.request().catch(() => {});
      await this.pause(this.parts.reportMs ?? REPORT_MS);
    }
  }

  /** Tells the registry what is served here. That it is away has been said already. */
  private async report(): Promise<void> {
    const models = reportedModels(this.wanted, this.standing, await this.parts.index());
    const { routes, decisions } = this.parts.traffic();
    const rows = { routes: registeredRows(routes, this.names), decisions: registeredRows(decisions, this.names) };
    await this.parts.source.report({ ...this.parts.gateway, models, ...rows }).catch((error: unknown) => {
      const { code, message } = toSwitchyardError(error);
      if (REFUSALS.has(code)) this.warnOnce(`the registry takes no report of what is served here: ${message}`);
    });
  }

  private async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.ending.signal, ref: false }).catch(() => {});
  }

  private warnOnce(message: string): void {
    if (this.warned.has(message)) return;
    this.warned.add(message);
    this.parts.log('warn', message, {});
  }

  private background(work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.parts.log('error', `serving what the registry says failed: ${toSwitchyardError(error).message}`, {});
    });
  }
}

function notHere(): Promise<never> {
  return Promise.reject(
    new SwitchyardError('unavailable', 'it is not on this machine and the registry has not answered yet'),
  );
}

const OFFLINE: RegistrySource = { watch: notHere, manifest: notHere, blob: notHere, report: notHere };
