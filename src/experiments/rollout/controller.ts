import type { TemplateDocument } from '../../config/route-schema.ts';
import type { CanarySpec } from '../../config/strategy-schema.ts';
import { combine, type Report } from './judge.ts';
import { isOver, note, type RolloutCommand, type RolloutEvent, type RolloutState } from './state.ts';

export interface Advance {
  state: RolloutState;
  commands: RolloutCommand[];
}

/**
 * The canary controller: a state, an event and the time give the next state and what to do. Nothing else is read, so
 * that a restart or another leader goes on with the next tick as if nothing had happened.
 */
export function advance(before: RolloutState, canary: CanarySpec, event: RolloutEvent, now: number): Advance {
  const state: RolloutState = { ...before };
  apply(state, canary, event, now);
  settle(state, canary, event, now);
  const changed = JSON.stringify(state) !== JSON.stringify(before);
  if (changed) state.version = before.version + 1;
  return { state: changed ? state : before, commands: commandsOf(before, state, canary) };
}

/** Templates whose metrics a tick must bring: those of an inline analysis that is running, and the background's. */
export function templatesInForce(state: RolloutState, canary: CanarySpec): { inline: string[]; background: string[] } {
  if (isOver(state) || state.phase === 'rollingBack') return { inline: [], background: [] };
  const served = state.weight > 0 || state.mirror > 0;
  return {
    inline: canary.steps[state.step]?.analysis?.templates ?? [],
    background: served ? (canary.background?.templates ?? []) : [],
  };
}

/**
 * Each metric's part of α, so that the stated α is that of a whole rollout: split over the metrics that test anything
 * and over the windows in which they start anew.
 */
export function alphaShare(canary: CanarySpec, templates: ReadonlyMap<string, TemplateDocument>): number {
  const names = new Set(canary.background?.templates);
  for (const { analysis } of canary.steps) for (const name of analysis?.templates ?? []) names.add(name);
  let metrics = 0;
  for (const name of names) {
    metrics += templates.get(name)?.spec.metrics.filter(({ test }) => test !== undefined).length ?? 0;
  }
  let windows = 1;
  let ratio = 1;
  for (const { setWeight } of canary.steps) {
    if (setWeight === undefined || setWeight === 0) continue;
    const next = controlRatio(canary, setWeight);
    if (next !== ratio) windows++;
    ratio = next;
  }
  return 1 / (Math.max(1, metrics) * windows);
}

/** Control requests per candidate request; pooling counts over different ratios would mix times unequally. */
function controlRatio(canary: CanarySpec, percent: number): number {
  if (percent === 0) return 1;
  return canary.control === 'matched' ? Math.min(1, (100 - percent) / percent) : (100 - percent) / percent;
}

function apply(state: RolloutState, canary: CanarySpec, event: RolloutEvent, now: number): void {
  if (event.type === 'retry') {
    if (state.phase !== 'rolledBack') return;
    Object.assign(state, {
      phase: 'progressing',
      step: 0,
      startedAt: now,
      stepStartedAt: now,
      paused: false,
      rollback: undefined,
      reason: '',
      reports: [],
    });
    note(state, now, 'retried');
    return;
  }
  if (isOver(state)) return;
  if (state.phase === 'rollingBack') {
    aliasUndone(state, canary, event, now);
    return;
  }
  switch (event.type) {
    case 'abort':
      rollBack(state, event.reason ?? 'aborted', now);
      return;
    case 'pause':
    case 'resume':
      if (state.paused !== (event.type === 'pause')) note(state, now, `${event.type}d`);
      state.paused = event.type === 'pause';
      return;
    case 'promote':
      state.paused = false;
      if (state.phase === 'promoting') return;
      note(state, now, event.full ? 'promoted past all steps' : `promoted past step ${state.step + 1}`);
      if (event.full || state.step >= canary.steps.length) finish(state, canary, now);
      else enter(state, state.step + 1, now);
      return;
    case 'aliasSet':
      if (state.phase === 'promoting' && event.version === state.candidateVersion) succeed(state, now);
      return;
    case 'aliasConflict':
      if (state.phase !== 'promoting' || event.version !== state.candidateVersion) return;
      rollBack(state, conflict(state, canary, event.current), now);
      state.undoAlias = undefined;
      return;
  }
}

/** The answer to setting the alias back; that of a setAlias which was still under way when the rollback began is none. */
function aliasUndone(state: RolloutState, canary: CanarySpec, event: RolloutEvent, now: number): void {
  if (event.type !== 'aliasSet' && event.type !== 'aliasConflict') return;
  if (state.undoAlias !== true || event.version !== state.stableVersion) return;
  state.undoAlias = undefined;
  const names = event.type === 'aliasSet' ? state.stableVersion : `${event.current} by now`;
  note(state, now, `alias ${canary.onPass.setAlias} names ${names}`);
}

function conflict(state: RolloutState, canary: CanarySpec, current: string): string {
  return `alias ${canary.onPass.setAlias} names ${current} by now, not ${state.stableVersion}`;
}

/** Moves on as far as the time and the verdicts allow. */
function settle(state: RolloutState, canary: CanarySpec, event: RolloutEvent, now: number): void {
  if (isOver(state)) return;
  if (state.phase !== 'rollingBack') checkVerdicts(state, canary, event, now);
  if (state.phase !== 'rollingBack' && state.phase !== 'promoting' && !state.paused) goOn(state, canary, event, now);
  if (state.phase === 'rollingBack') ramp(state, canary, now);
}

function goOn(state: RolloutState, canary: CanarySpec, event: RolloutEvent, now: number): void {
  let inline = event.type === 'tick' ? event.inline : undefined;
  while (state.step < canary.steps.length) {
    if (!stepDone(state, canary, inline, now)) return;
    // These reports were about this step's templates, not about the next analysis'.
    if (canary.steps[state.step].analysis) inline = undefined;
    enter(state, state.step + 1, now);
  }
  const background = event.type === 'tick' ? event.background : undefined;
  if (backgroundAllows(state, canary, background, now)) finish(state, canary, now);
}

function checkVerdicts(state: RolloutState, canary: CanarySpec, event: RolloutEvent, now: number): void {
  if (event.type === 'tick') {
    const reports = [...(event.inline ?? []), ...(event.background ?? [])];
    if (reports.length > 0) state.reports = reports;
    const failed = reports.find(({ verdict }) => verdict === 'fail');
    if (failed !== undefined) {
      rollBack(state, `${failed.metric}: ${failed.reason}`, now);
      return;
    }
  }
  if (canary.deadline !== undefined && now - state.startedAt >= canary.deadline && state.phase !== 'promoting') {
    rollBack(state, 'not finished by its deadline', now);
  }
}

function enter(state: RolloutState, step: number, now: number): void {
  state.step = step;
  state.stepStartedAt = now;
  state.phase = 'progressing';
}

/** Carries out the current step as far as it goes. True: the next one may begin. */
function stepDone(
  state: RolloutState,
  canary: CanarySpec,
  inline: readonly Report[] | undefined,
  now: number,
): boolean {
  const { setWeight, setMirror, pause, analysis } = canary.steps[state.step];
  if (setWeight !== undefined) {
    state.weight = setWeight;
    note(state, now, `weight ${setWeight} %`);
  } else if (setMirror !== undefined) {
    state.mirror = setMirror.percent;
    note(state, now, `mirror ${setMirror.percent} %`);
  } else if (pause !== undefined) {
    state.phase = pause.duration === undefined ? 'gated' : 'waiting';
    return pause.duration !== undefined && now - state.stepStartedAt >= pause.duration;
  } else if (analysis !== undefined) {
    if (combine(inline ?? []) === 'pass') {
      note(state, now, `analysis ${analysis.templates.join(', ')} passed`);
      return true;
    }
    if (state.phase !== 'held') state.phase = 'analysing';
    if (analysis.timeout === undefined || now - state.stepStartedAt < analysis.timeout) return false;
    return inconclusive(state, canary, `analysis ${analysis.templates.join(', ')}`, now);
  }
  return true;
}

/** After the last step the background analysis must have passed: no data is never a pass. */
function backgroundAllows(
  state: RolloutState,
  canary: CanarySpec,
  background: readonly Report[] | undefined,
  now: number,
): boolean {
  if (canary.background === undefined) return true;
  if (combine(background ?? []) === 'pass') return true;
  return inconclusive(state, canary, 'the background analysis', now);
}

function inconclusive(state: RolloutState, canary: CanarySpec, what: string, now: number): boolean {
  if (canary.onInconclusive === 'pass') return true;
  if (canary.onInconclusive === 'fail') {
    rollBack(state, `${what} came to no verdict`, now);
    return false;
  }
  if (state.phase !== 'held') note(state, now, `held: ${what} has come to no verdict yet`);
  state.phase = 'held';
  return false;
}

function finish(state: RolloutState, canary: CanarySpec, now: number): void {
  state.step = canary.steps.length;
  state.weight = 100;
  state.mirror = 0;
  if (canary.onPass.setAlias === undefined) {
    succeed(state, now);
    return;
  }
  state.phase = 'promoting';
  note(state, now, `setting alias ${canary.onPass.setAlias} to ${state.candidateVersion}`);
}

/** With an alias, stable is the candidate from here on, and the candidate's share can go back to it. */
function succeed(state: RolloutState, now: number): void {
  if (state.phase === 'promoting') state.weight = 0;
  state.phase = 'succeeded';
  note(state, now, 'succeeded');
}

function rollBack(state: RolloutState, reason: string, now: number): void {
  if (state.phase === 'promoting') state.undoAlias = true;
  state.phase = 'rollingBack';
  state.reason = reason;
  state.mirror = 0;
  state.rollback = { from: state.weight, startedAt: now };
  note(state, now, `rolling back: ${reason}`);
}

/** Down in a straight line, so that a stable version gone cold is not hit at once; the end is exactly 0. */
function ramp(state: RolloutState, canary: CanarySpec, now: number): void {
  const { from, startedAt } = state.rollback!;
  const { rollback, over } = canary.onFail;
  const left = rollback === 'immediate' || over === 0 ? 0 : Math.max(0, 1 - (now - startedAt) / over);
  // A clock set back must not raise the weight again.
  state.weight = Math.min(state.weight, Math.round(from * left * 100) / 100);
  if (left > 0 && state.weight > 0) return;
  state.weight = 0;
  if (state.undoAlias) return;
  state.phase = 'rolledBack';
  note(state, now, 'rolled back');
}

function commandsOf(before: RolloutState, state: RolloutState, canary: CanarySpec): RolloutCommand[] {
  const commands: RolloutCommand[] = [];
  if (isOver(before) && !isOver(state)) commands.push({ type: 'restartWindow' });
  if (state.weight !== before.weight) {
    commands.push({ type: 'setWeight', percent: state.weight });
    const comparing = state.weight > 0 && state.weight < 100;
    if (comparing && controlRatio(canary, state.weight) !== controlRatio(canary, before.weight)) {
      commands.push({ type: 'restartWindow' });
    }
  }
  if (state.mirror !== before.mirror) commands.push({ type: 'setMirror', percent: state.mirror });
  const alias = canary.onPass.setAlias;
  if (state.phase === 'promoting' && alias !== undefined) {
    commands.push({ type: 'setAlias', alias, expected: state.stableVersion, version: state.candidateVersion });
  } else if (state.undoAlias && alias !== undefined) {
    commands.push({ type: 'setAlias', alias, expected: state.candidateVersion, version: state.stableVersion });
  }
  return commands;
}
