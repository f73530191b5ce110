import type { TemplateDocument } from '../../config/route-schema.ts';
import type { RolloutEvent } from '../../experiments/rollout/state.ts';
import { queryPrometheus } from '../../shared/prometheus-query.ts';
import type { AliasSource } from './aliases.ts';
import type { LiveRoute } from './live.ts';
import { type AliasWish, answerQuery, dueQueries, rolloutOf } from './rollout-control.ts';
import type { Standing } from './standing.ts';

export interface RolloutErrandsParts {
  /** Those there are: a route may have been replaced by the time an answer comes. */
  routes: ReadonlyMap<string, LiveRoute>;
  leading(): boolean;
  aliasSource: AliasSource;
  /** Reads the registry's aliases again; false: it cannot be read. */
  refreshAliases(): Promise<boolean>;
  step(live: LiveRoute, event: RolloutEvent): void;
  take(live: LiveRoute, standing: Standing): void;
  /** Tells the other gateways where the route stands. False: they do not know. Never rejects. */
  publish(live: LiveRoute): Promise<boolean>;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

/** Commands that a rollout remembers: more than may come again, which is the last one. */
const KEPT_COMMANDS = 10;

/**
 * What rollouts have to wait for: aliases that are moved and metrics that are queried, one of each at a time for a route,
 * and commands that all gateways have to know.
 */
export class RolloutErrands {
  private readonly parts: RolloutErrandsParts;

  constructor(parts: RolloutErrandsParts) {
    this.parts = parts;
  }

  /** Never rejects. The rollout asks again with the next tick as long as it has no answer. */
  async move(live: LiveRoute, wish: AliasWish): Promise<void> {
    if (live.moving) return;
    live.moving = true;
    const { model, alias, expected, version } = wish;
    try {
      const reason = `rollout of route ${live.name}`;
      const named = await this.parts.aliasSource.move(model, alias, expected, version, reason);
      live.moveProblem = '';
      // Stable's traffic may only come back once stable is the new version; the next tick asks again otherwise.
      if (named === version && !(await this.parts.refreshAliases())) return;
      if (!this.parts.leading()) return;
      const current = this.parts.routes.get(live.name) ?? live;
      const event: RolloutEvent =
        named === version
          ? { type: 'aliasSet', version }
          : { type: 'aliasConflict', version, current: named === '' ? 'nothing' : named };
      this.parts.step(current, event);
    } catch (error) {
      const problem = (error as Error).message;
      if (problem !== live.moveProblem)
        this.parts.log('error', 'an alias cannot be moved; it is tried again', {
          route: live.name,
          ...wish,
          problem,
        });
      live.moveProblem = problem;
    } finally {
      live.moving = false;
    }
  }

  /** Asks Prometheus what is due of a rollout's metrics. Never rejects. */
  async query(live: LiveRoute, templates: ReadonlyMap<string, TemplateDocument>, now: number): Promise<void> {
    const { canary } = live.document.spec.strategy;
    const rollout = rolloutOf(live.standing);
    if (canary === undefined || rollout === undefined || live.querying) return;
    const due = dueQueries(canary, rollout, templates, now);
    if (due.length === 0) return;
    live.querying = true;
    const results = await Promise.all(
      due.map(({ metric }) =>
        queryPrometheus(metric.prometheus!, (message) =>
          this.parts.log('warn', 'a metric cannot be queried', {
            route: live.name,
            metric: metric.name,
            message,
          }),
        ),
      ),
    );
    live.querying = false;
    const current = this.parts.routes.get(live.name);
    if (current === undefined || rolloutOf(current.standing)?.state.startedAt !== rollout.state.startedAt) return;
    let { standing } = current;
    due.forEach((query, i) => {
      standing = answerQuery(standing, query, results[i], now);
    });
    this.parts.take(current, standing);
  }

  /**
   * A person's command, once for each id however often it comes: ids are published with what they led to, for the leader
   * after this one. Resolves with whether that is done. Never rejects.
   */
  carryOut(live: LiveRoute, id: string, event: RolloutEvent): Promise<boolean> {
    const { commands = [] } = live.standing;
    if (!commands.includes(id)) {
      // Not published by itself: whoever reads it finds what came of it.
      live.standing = { ...live.standing, commands: [...commands, id].slice(-KEPT_COMMANDS) };
      live.unsaved = true;
      try {
        this.parts.step(live, event);
      } catch (err) {
        this.parts.log('error', 'a command to a rollout cannot be carried out', { route: live.name, err });
      }
    }
    return this.parts.publish(live);
  }
}
