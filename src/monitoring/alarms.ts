import type { Happening } from '../registry/commit.ts';
import { type Alarm, type Finding, withFinding } from './alarm.ts';
import type { AlertStore } from './alert-store.ts';
import type { MonitorDocument } from './document.ts';
import type { MonitorMetrics } from './metrics.ts';
import { alarmOf, type MonitorState } from './state.ts';
import type { MonitorStore } from './store.ts';

export interface AlarmsParts {
  store: MonitorStore;
  alerts: AlertStore;
  metrics: MonitorMetrics;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
  /** An alarm rings: a retraining may follow. */
  rang(): void;
}

/** Alarms of monitors, kept with their state: changes of level are told in the log, the metrics and to webhooks. */
export class Alarms {
  private readonly parts: AlarmsParts;

  constructor(parts: AlarmsParts) {
    this.parts = parts;
  }

  /** Takes in what a window said, and tells when the level has changed by it. */
  async take(
    document: MonitorDocument,
    signal: string,
    version: string,
    finding: Finding,
    window: { from: number; to: number; reason: string; key: number },
  ): Promise<void> {
    const { store, alerts, metrics, log } = this.parts;
    const { name } = document.metadata;
    const place = `${signal}/${version}`;
    const { model } = document.spec;
    const factsOf = ({ level, reason }: Alarm) => ({
      ...{ monitor: name, model, version, signal, level },
      ...{ reason: level === 'ok' ? 'as the reference again' : reason, window: window.key },
    });
    const { before, after } = await store.update(
      name,
      Date.now(),
      (state) => {
        if (state.retired.includes(version)) return state;
        const alarm = withFinding(alarmOf(state, place), document.spec.alert, finding, window);
        return { ...state, alarms: { ...state.alarms, [place]: alarm } };
      },
      (before, after) => {
        const now = alarmOf(after, place);
        if (alarmOf(before, place).level === now.level) return [];
        const action = now.level === 'ok' ? 'deleted' : 'set';
        return [{ entity: 'drift', action, data: { name: model, ...factsOf(now) } }];
      },
    );
    const [old, now] = [alarmOf(before, place), alarmOf(after, place)];
    metrics.level(name, signal, version, now.level);
    if (old.level === now.level) return;
    const facts = factsOf(now);
    if (now.level === 'ok') {
      await alerts.ended(name, version, signal, window.to, 'as the reference again');
      log('info', 'an alarm ended', told(facts));
      return;
    }
    await alerts.rang(name, version, signal, now, window.key);
    log('warn', now.level === 'alert' ? 'a model drifts' : 'a model may drift', told(facts));
    this.parts.rang();
  }

  /** Changes the state of a monitor so that alarms end with it: those at `places` (signal/version) of the state before. */
  async end(
    document: MonitorDocument,
    change: (state: MonitorState) => MonitorState,
    places: (state: MonitorState) => readonly string[],
    reason: string,
  ): Promise<void> {
    const { before } = await this.parts.store.update(document.metadata.name, Date.now(), change, (state) =>
      cleared(document, state, places(state), reason),
    );
    await this.tellCleared(document, before, places(before), reason);
  }

  private async tellCleared(
    document: MonitorDocument,
    state: MonitorState,
    places: readonly string[],
    reason: string,
  ): Promise<void> {
    const { alerts, metrics, log } = this.parts;
    const { name } = document.metadata;
    for (const place of places) {
      const [signal, version] = place.split('/');
      metrics.level(name, signal, version, 'ok');
      if (alarmOf(state, place).level === 'ok') continue;
      await alerts.ended(name, version, signal, Date.now(), reason);
      log('info', 'an alarm ended', told(clearedFacts(document, place, reason)));
    }
  }
}

/** As the log has it: `level` is the line's own there. */
function told({ level, ...facts }: { level: string; [name: string]: unknown }): object {
  return { ...facts, alarm: level };
}

function clearedFacts({ metadata, spec }: MonitorDocument, place: string, reason: string) {
  const [signal, version] = place.split('/');
  return { monitor: metadata.name, model: spec.model, version, signal, level: 'ok', reason };
}

/** What webhooks hear when alarms end with the state that they were of. */
function cleared(
  document: MonitorDocument,
  state: MonitorState,
  places: readonly string[],
  reason: string,
): Happening[] {
  return places
    .filter((place) => alarmOf(state, place).level !== 'ok')
    .map((place) => ({
      entity: 'drift',
      action: 'deleted',
      data: { name: document.spec.model, ...clearedFacts(document, place, reason) },
    }));
}
