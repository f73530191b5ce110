import type { RouteSet } from '../../config/load-routes.ts';
import type { RouteDocument, TemplateDocument } from '../../config/route-schema.ts';
import type { RolloutEvent } from '../../experiments/rollout/state.ts';
import type { RouteActivity, ShadowActivity } from '../../gateway/route-activity.ts';
import type { ServingTable } from '../../pipeline/types.ts';
import type { RouteState } from '../../routing/live-route.ts';
import type { AliasSource, RouteAliases } from './aliases.ts';
import { epochOf, learnBandit } from './bandit-control.ts';
import {
  type Contribution,
  decodeContribution,
  type EncodedContribution,
  encodeContribution,
  merge,
  withoutFolded,
} from './contribution.ts';
import { lookAtExperiment } from './experiment-control.ts';
import { withVersions } from './experiment-versions.ts';
import { Ledger, noRouteSums } from './ledger.ts';
import { countUnder, isControlled, type LiveRoute, learnFrom, mature, newLive, servedState, sumsName } from './live.ts';
import {
  beginIfDue,
  compareAnewIfDue,
  promotedSince,
  rolloutOf,
  stepRollout,
  type VersionPair,
} from './rollout-control.ts';
import { RolloutErrands } from './rollout-errands.ts';
import { unjudgedWeight } from './stale-canary.ts';
import { resume, type Standing, sameStrategy } from './standing.ts';
import { StandingKeeper } from './standing-keeper.ts';
import { variantVersions } from './variant-versions.ts';
import type { WaitingJournal } from './waiting-journal.ts';

export interface RuntimeDependencies {
  publishRoutes(routes: RouteDocument[], states: ReadonlyMap<string, RouteState>): void;
  publishState(route: string, state: RouteState): void;
  table(): ServingTable;
  aliases: RouteAliases;
  aliasSource: AliasSource;
  /** This gateway's name at the start: the same after a restart, unless it is one of several. */
  node: string;
  /** Whether this gateway decides, and what the others have counted; undefined: it is alone. */
  fleet:
    | {
        leading(): boolean;
        /** Whether it is too long ago that somebody was heard of who decides. */
        stale(): boolean;
        /** By {@link sumsName}, as everything that was counted. */
        contributions(sums: string): EncodedContribution[];
        publish(standings: ReadonlyMap<string, string | undefined>): Promise<boolean>;
        /** What an earlier process of this gateway has published of it. Rejects when it cannot be told now. */
        learnt(sums: string, node: string): Promise<number>;
        /** Removes sums that nothing goes by any more. Never rejects. */
        forget(sums: readonly string[]): Promise<void>;
      }
    | undefined;
  /** Keeps standings; `undefined` removes. */
  save(standings: ReadonlyMap<string, string | undefined>): Promise<void>;
  /** Where a route's decisions that wait for rewards outlive the process. */
  journal(route: string, print: string): WaitingJournal;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
  /** Milliseconds since 1970, which pass as time does: steadyTime(). */
  now(): number;
}

/** Between two looks at a canary or an experiment. */
const LOOK_MS = 1000;

/**
 * All routes while they run. Every gateway counts; whoever decides (the leader of several gateways, or the only one)
 * turns the counts into standings; everybody hands the states in them to its threads. What to decide is written down in
 * bandit-control, experiment-control and src/experiments/rollout: here are only time, messages and storage.
 */
export class RouteRuntime {
  readonly routes = new Map<string, LiveRoute>();
  templates: ReadonlyMap<string, TemplateDocument> = new Map();
  private readonly dependencies: RuntimeDependencies;
  private readonly ledger = new Ledger();
  private node: string;
  /** Since when there is nobody who could judge a canary, and the time of the last tick. */
  private staleSince: number | undefined;
  private ticked = 0;
  /** Of routes that are not there (yet), as the database had them. */
  private stored = new Map<string, Standing>();
  private readonly keeper: StandingKeeper;
  private readonly errands: RolloutErrands;

  constructor(dependencies: RuntimeDependencies) {
    this.dependencies = dependencies;
    this.node = dependencies.node;
    const { routes } = this;
    const { save, log, fleet, aliasSource, aliases, now } = dependencies;
    const leading = (): boolean => this.leading();
    const data = (live: LiveRoute): Contribution => this.data(live);
    this.keeper = new StandingKeeper({ routes, alone: fleet === undefined, leading, data, save, log });
    this.errands = new RolloutErrands({
      ...{ routes, leading, aliasSource, log },
      refreshAliases: () => aliases.refresh(),
      step: (live, event) => this.step(live, event, now()),
      take: (live, standing) => this.take(live, standing),
      publish: async ({ name, standing }) =>
        (await fleet?.publish(new Map([[name, JSON.stringify(standing)]]))) === true,
    });
  }

  /** What the database has. Before the first `replace`, or later for routes that have not been decided on since. */
  restore(standings: ReadonlyMap<string, string>): void {
    this.keeper.begin();
    for (const [name, text] of standings) {
      try {
        this.stored.set(name, JSON.parse(text) as Standing);
      } catch (error) {
        this.dependencies.log('error', 'what was kept of a route cannot be read; it starts anew', {
          route: name,
          err: error,
        });
      }
    }
    for (const live of this.routes.values()) {
      const stored = this.stored.get(live.name);
      if (stored === undefined || !this.precedes(stored, live.standing)) continue;
      const { version } = live.standing.state;
      const standing = resume(live.document.spec, stored);
      if (standing.print !== live.standing.print) this.countAnew(live, standing);
      live.standing = standing;
      // Decisions name the version: it goes on growing.
      if (live.standing.state.version <= version)
        live.standing = { ...live.standing, state: { ...live.standing.state, version: version + 1 } };
      live.unsaved = true;
      this.show(live);
    }
  }

  /**
   * Whether a route goes on from what the database tells late. A gateway that is alone has begun anew without it; several
   * may know better, from their leader.
   */
  private precedes(stored: Standing, standing: Standing): boolean {
    if (stored.state.version > standing.state.version) return true;
    return this.dependencies.fleet === undefined && sameStrategy(stored.print, standing.print);
  }

  /** Swaps all routes at once; each goes on where it stood as far as that still fits. */
  replace({ routes, templates }: RouteSet): void {
    const before = new Map(this.routes);
    this.routes.clear();
    this.templates = templates;
    const published = new Map<string, string | undefined>();
    const over: string[] = [];
    for (const document of routes) {
      const { name } = document.metadata;
      const old = before.get(name);
      const known = old?.standing ?? this.stored.get(name);
      const standing = resume(document.spec, known);
      this.stored.delete(name);
      if (standing.state.version !== known?.state.version) published.set(name, JSON.stringify(standing));
      if (old !== undefined && old.standing.print === standing.print) {
        // The same object: what is under way for it finds it again.
        this.routes.set(name, Object.assign(old, { document, standing, unsaved: true }));
        continue;
      }
      if (old !== undefined) over.push(sumsName(old));
      old?.join?.drop();
      const live = this.newLive(document, standing);
      this.ledger.set(name, noRouteSums());
      this.routes.set(name, live);
    }
    this.ledger.keepOnly(new Set(this.routes.keys()));
    for (const live of this.routes.values()) {
      live.own.sums = this.ledger.of(live.name);
      live.unknown = this.isUnknown(live);
    }
    this.dependencies.publishRoutes(routes, this.states());
    for (const [name, old] of before) {
      if (this.routes.has(name)) continue;
      over.push(sumsName(old));
      old.join?.drop();
      published.set(name, undefined);
    }
    if (published.size > 0) void this.publish(published);
    void this.dependencies.fleet?.forget(over);
    const aliased = routes.flatMap(({ spec }) =>
      Object.values(spec.variants).flatMap(({ model, alias }) => (alias === undefined ? [] : [model])),
    );
    void this.dependencies.aliases.follow(aliased);
  }

  private newLive(document: RouteDocument, standing: Standing): LiveRoute {
    const { journal } = this.dependencies;
    return newLive(document, standing, this.node, (print) => journal(document.metadata.name, print));
  }

  /** What was counted so far, and decisions that wait for rewards, are of what the route does not compare any more. */
  private countAnew(live: LiveRoute, standing: Standing): void {
    void this.dependencies.fleet?.forget([sumsName(live)]);
    live.join?.drop();
    const { own, join } = this.newLive(live.document, standing);
    Object.assign(live, { own, join });
    this.ledger.set(live.name, own.sums);
  }

  states(): Map<string, RouteState> {
    return new Map([...this.routes].map(([name, live]) => [name, servedState(live)]));
  }

  activity(activity: RouteActivity): void {
    this.ledger.add({ ...activity, shadows: activity.shadows.map((shadow) => this.ofVersion(shadow)) });
    for (const { route } of activity.slices) this.stir(route);
    for (const { route } of activity.shadows) this.stir(route);
    for (const record of activity.learning) {
      const live = this.routes.get(record.route);
      if (live !== undefined) learnFrom(live, record);
    }
    if (activity.learning.length > 0) void this.flush();
  }

  /** Copies that nobody answered, to a variant whose version the policy chooses, are of the one it chooses now. */
  private ofVersion(shadow: ShadowActivity): ShadowActivity {
    const document = this.routes.get(shadow.route)?.document;
    if (shadow.version !== '' || document === undefined) return shadow;
    return { ...shadow, version: this.versions(document)[shadow.variant] ?? '' };
  }

  /** Resolves when decisions and rewards outlive this process. Never rejects. */
  async flush(): Promise<void> {
    await Promise.all([...this.routes.values()].map(({ join }) => join?.flush()));
  }

  /** Earlier processes of this gateway whose waiting decisions are not taken over yet. */
  predecessors(): string[] {
    return [...new Set([...this.routes.values()].flatMap(({ join }) => [...(join?.owners ?? [])]))];
  }

  /** Waits on for rewards of what was decided before a restart, once it is known what was learnt. Never rejects. */
  async recover(): Promise<void> {
    if (!this.keeper.begun) return;
    await Promise.all([...this.routes.values()].map((live) => this.recoverRoute(live)));
  }

  private async recoverRoute(live: LiveRoute): Promise<void> {
    const { join, standing } = live;
    if (join === undefined || join.owners.size === 0) return;
    const { fleet } = this.dependencies;
    const kept = standing.before?.learnt ?? 0;
    if (fleet === undefined) {
      join.recover(kept);
      return;
    }
    try {
      const told = await Promise.all([...join.owners].map((node) => fleet.learnt(sumsName(live), node)));
      join.recover(Math.max(kept, ...told));
    } catch {
      // With the next tick again: without Redis nothing is learnt anyway.
    }
  }

  /** Gateways of a fleet: what was counted so far is kept in Redis. */
  told(contributions: ReadonlyMap<string, EncodedContribution>): void {
    for (const live of this.routes.values()) {
      const told = contributions.get(sumsName(live));
      if (told !== undefined) live.join?.prune(told.learnt ?? 0);
    }
  }

  /** Gateways of a fleet: others count this one among those that are gone. It counts anew, under another name. */
  rename(node: string): void {
    this.node = node;
    for (const live of this.routes.values()) {
      if (!isControlled(live.document)) continue;
      this.ledger.set(live.name, noRouteSums());
      countUnder(live, node);
      live.own.sums = this.ledger.of(live.name);
    }
  }

  /** Gateways of a fleet: of sums of those that are gone, all but what is in the totals. */
  kept(sums: string, gone: Contribution): Contribution {
    const live = [...this.routes.values()].find((each) => sumsName(each) === sums);
    const left = withoutFolded(gone, live?.standing.totals);
    return { ...left, epochs: left.epochs.filter(({ epochs }) => epochs.length > 0) };
  }

  /** What is known of a route, by all gateways together. */
  data(live: LiveRoute): Contribution {
    const { own, standing } = live;
    const { fleet } = this.dependencies;
    const others = fleet?.contributions(sumsName(live)) ?? (standing.before === undefined ? [] : [standing.before]);
    return others.length === 0 ? own : merge([own, ...others.map(decodeContribution)]);
  }

  /** Of this gateway, for the others: by {@link sumsName}. */
  contributions(): Map<string, EncodedContribution> {
    const all = new Map<string, EncodedContribution>();
    for (const live of this.routes.values())
      if (isControlled(live.document)) all.set(sumsName(live), encodeContribution(live.own));
    return all;
  }

  /** What the leader decided. Shares that a document spells out are this gateway's: its file may be the newer one. */
  follow(name: string, text: string): void {
    const standing = JSON.parse(text) as Standing;
    const live = this.routes.get(name);
    if (live === undefined) {
      this.stored.set(name, standing);
      return;
    }
    // One of another strategy is of a gateway that has other routes, or not read them again yet.
    if (!sameStrategy(standing.print, live.standing.print)) return;
    const before = live.standing;
    const after = resume(live.document.spec, standing);
    if (after.print !== before.print) this.countAnew(live, after);
    live.standing = after;
    if (promotedSince(live.document.spec, before, live.standing)) live.held = true;
    if (live.held) void this.release(live);
    else if (live.standing.state.version !== before.state.version) this.show(live);
  }

  /**
   * Stable's traffic may only come back once stable is the new version here, too; until the registry can be read the
   * candidate keeps it. Never rejects.
   */
  private async release(live: LiveRoute): Promise<void> {
    const read = await this.dependencies.aliases.refresh();
    if (!read || !live.held || this.routes.get(live.name) !== live) return;
    live.held = false;
    this.show(live);
  }

  private show(live: LiveRoute): void {
    live.unjudged = this.unjudged(live);
    live.unknown = this.isUnknown(live);
    if (!live.held || live.unknown) this.dependencies.publishState(live.name, servedState(live));
  }

  /**
   * Before threads serve by other versions: a canary's candidate that becomes one its weight was not decided for loses it,
   * so that no request meets a version with the weight of another.
   */
  withhold(): void {
    for (const live of this.routes.values()) if (!live.unknown && this.isUnknown(live)) this.show(live);
  }

  /** After that: one that is again what its weight was decided for has it back. */
  giveBack(): void {
    for (const live of this.routes.values()) if (live.unknown && !this.isUnknown(live)) this.show(live);
  }

  /** @param publish hands threads the versions that they serve by from now on */
  versionsChange(publish: () => void): void {
    this.withhold();
    publish();
    this.giveBack();
  }

  private isUnknown({ document, standing }: LiveRoute): boolean {
    const { canary } = document.spec.strategy;
    const rollout = rolloutOf(standing);
    if (canary === undefined || rollout === undefined) return false;
    const candidate = this.versions(document)[canary.candidate];
    return candidate !== '' && candidate !== rollout.state.candidateVersion;
  }

  private unjudged({ document, standing }: LiveRoute): number | undefined {
    if (this.staleSince === undefined) return undefined;
    const seconds = Math.floor((this.ticked - this.staleSince) / LOOK_MS);
    return unjudgedWeight(document.spec, standing, seconds * LOOK_MS);
  }

  /** A gateway of a fleet serves canaries by stable while nobody judges them; then they go on where the leader has them. */
  private watchAge(now: number): void {
    this.ticked = now;
    const stale = this.dependencies.fleet?.stale() ?? false;
    if (stale) this.staleSince ??= now;
    else this.staleSince = undefined;
    for (const live of this.routes.values()) {
      const { unjudged } = live;
      if (this.unjudged(live) === unjudged) continue;
      this.show(live);
      const fields = { route: live.name };
      if (unjudged === undefined)
        this.dependencies.log(
          'warn',
          'nobody has decided on this canary for too long: stable takes its traffic here',
          fields,
        );
      else if (live.unjudged === undefined)
        this.dependencies.log('info', 'this canary goes on as it was decided', fields);
    }
  }

  /** A gateway that decides from now on tells everybody where all routes stand. */
  async lead(): Promise<void> {
    const all = new Map([...this.routes.values()].map(({ name, standing }) => [name, JSON.stringify(standing)]));
    await this.dependencies.fleet?.publish(all);
  }

  /** The versions that variants are served by now; '' for none. */
  versions({ spec }: RouteDocument): Record<string, string> {
    const { models } = this.dependencies.table();
    return variantVersions(spec, models, (model, alias) => this.dependencies.aliases.versionOf(model, alias));
  }

  /** Whether this gateway decides. */
  leading(): boolean {
    return this.dependencies.fleet?.leading() ?? true;
  }

  /** Time passes: call it a few times a second. */
  tick(): void {
    const now = this.dependencies.now();
    const leading = this.leading();
    void this.recover();
    this.watchAge(now);
    for (const live of this.routes.values()) {
      try {
        mature(live, now, this.versions(live.document));
        if (live.held) void this.release(live);
        if (leading) this.decide(live, now);
      } catch (error) {
        this.dependencies.log('error', 'a route cannot be decided on; it stays as it is', {
          route: live.name,
          err: error,
        });
      }
    }
    void this.keeper.save(now);
  }

  /** A person's word on a rollout, to a gateway that is alone. */
  command(live: LiveRoute, event: RolloutEvent): void {
    this.step(live, event, this.dependencies.now());
  }

  /** The same to the leader of several gateways, once for each id. Resolves with whether it is published. Never rejects. */
  carryOut(live: LiveRoute, id: string, event: RolloutEvent): Promise<boolean> {
    return this.errands.carryOut(live, id, event);
  }

  /** Resolves when where routes stand outlives this process, or could not be kept. Never rejects. */
  saved(): Promise<void> {
    return this.keeper.flush(this.dependencies.now());
  }

  /** Everything to disk; on the way out. */
  async close(): Promise<void> {
    await this.flush();
    await this.saved();
  }

  private decide(live: LiveRoute, now: number): void {
    const { spec } = live.document;
    const { bandit, canary, experiment } = spec.strategy;
    if (bandit !== undefined) {
      const epoch = epochOf(bandit, now);
      if (epoch === live.epoch) return;
      live.epoch = epoch;
      this.take(live, learnBandit(spec, live.standing, this.data(live), this.versions(live.document), now));
      return;
    }
    if (now >= live.lookedAt && now - live.lookedAt < LOOK_MS) return;
    live.lookedAt = now;
    if (experiment !== undefined) {
      this.followVersions(live, now);
      const fleet = this.dependencies.fleet !== undefined;
      if (live.stirred || fleet) this.take(live, lookAtExperiment(spec, live.standing, this.data(live)));
      live.stirred = false;
    } else if (canary !== undefined) {
      const { sums } = this.data(live);
      const pair = this.pair(live);
      const begun = beginIfDue(live.name, spec, live.standing, pair, sums, now);
      this.take(live, begun ?? compareAnewIfDue(live.standing, pair, sums, now));
      this.step(live, { type: 'tick' }, now);
      void this.errands.query(live, this.templates, now);
    }
  }

  /** An experiment's arms have become other versions, or are known for the first time. */
  private followVersions(live: LiveRoute, now: number): void {
    const { document, standing } = live;
    const next = withVersions(document.spec, standing, this.versions(document), now);
    if (next.print !== standing.print) {
      this.countAnew(live, next);
      const fields = { route: live.name, reason: next.history?.at(-1)?.message };
      this.dependencies.log('warn', 'an experiment begins anew: what it had measured is of other versions', fields);
    }
    this.take(live, next);
  }

  /** Both versions of a canary, once they are loaded. */
  private pair({ document }: LiveRoute): VersionPair | undefined {
    const { canary } = document.spec.strategy;
    if (canary === undefined) return undefined;
    const { [canary.stable]: stable, [canary.candidate]: candidate } = this.versions(document);
    return stable === '' || candidate === '' ? undefined : { stable, candidate };
  }

  private step(live: LiveRoute, event: RolloutEvent, now: number): void {
    const { spec } = live.document;
    const { standing, alias } = stepRollout(spec, live.standing, event, this.data(live).sums, this.templates, now);
    const before = rolloutOf(live.standing)?.state;
    const after = rolloutOf(standing)?.state;
    this.take(live, standing);
    if (after !== undefined && before?.phase !== after.phase) {
      const fields = { route: live.name, phase: after.phase, weight: after.weight, reason: after.reason };
      this.dependencies.log(after.phase === 'rollingBack' ? 'warn' : 'info', 'a rollout moved on', fields);
    }
    if (alias !== undefined) void this.errands.move(live, alias);
  }

  private take(live: LiveRoute, standing: Standing): void {
    if (standing === live.standing) return;
    const changed = standing.state !== live.standing.state;
    const { invalid } = standing;
    if (invalid !== undefined && live.standing.invalid === undefined)
      this.dependencies.log('warn', 'an experiment is invalid', { route: live.name, reason: invalid });
    const [before, after] = [live.standing, standing].map((each) => rolloutOf(each)?.state);
    const moved = before?.phase !== after?.phase || before?.step !== after?.step;
    live.standing = standing;
    live.unsaved = true;
    if (changed) this.show(live);
    if (changed || moved) {
      this.keeper.hurry();
      void this.keeper.save(this.dependencies.now());
    }
    if (this.dependencies.fleet !== undefined) void this.publish(new Map([[live.name, JSON.stringify(standing)]]));
  }

  private async publish(standings: ReadonlyMap<string, string | undefined>): Promise<void> {
    await this.dependencies.fleet?.publish(standings);
    await this.keeper.forget([...standings].flatMap(([name, standing]) => (standing === undefined ? [name] : [])));
  }

  private stir(route: string): void {
    const live = this.routes.get(route);
    if (live === undefined) return;
    live.stirred = true;
    if (isControlled(live.document)) live.unsaved = true;
  }
}
