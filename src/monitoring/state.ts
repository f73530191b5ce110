import { type Alarm, QUIET } from './alarm.ts';
import { freshRetrainState, type RetrainState } from './retraining.ts';

const MOST_RETIRED = 100;

/** Everything that a monitor remembers. JSON as it is. */
export interface MonitorState {
  /** By signal and version: 'drift/3', 'accuracy/3'. */
  alarms: Record<string, Alarm>;
  /** By metric and version: figures of the first windows. */
  first: Record<string, number[]>;
  /** The version that `retrain.alias` named last; '' = not known. */
  champion: string;
  /** Versions that had it before: what is still heard of them rings no more. */
  retired: string[];
  retrain: RetrainState;
  /** Grows with each reset by a person. */
  generation: number;
}

export function freshState(): MonitorState {
  return { alarms: {}, first: {}, champion: '', retired: [], retrain: freshRetrainState(), generation: 0 };
}

export function alarmOf({ alarms }: MonitorState, key: string): Alarm {
  return alarms[key] ?? { ...QUIET };
}

/** After a person's reset: alarms end, the breaker closes; which version was promoted stays known. */
export function afterReset({ champion, retired, generation, retrain }: MonitorState): MonitorState {
  const { breaker } = freshRetrainState();
  const again = { ...retrain, breaker, inVain: 0, waiting: '' };
  return { ...freshState(), champion, retired, generation: generation + 1, retrain: again };
}

/** A version took the champion's place, whose alarms end: its own reference counts from now on. */
export function withChampion(state: MonitorState, champion: string): MonitorState {
  const retired = [...state.retired, state.champion].filter((version) => version !== '' && version !== champion);
  const alarms = Object.fromEntries(Object.entries(state.alarms).filter(([place]) => versionOf(place) === champion));
  return { ...state, champion, retired: retired.slice(-MOST_RETIRED), alarms };
}

/** Places of the alarms that end when a version takes the champion's place; none if there was no champion before. */
export function outlivedAlarms({ alarms, champion: before }: MonitorState, champion: string): string[] {
  return before === '' ? [] : Object.keys(alarms).filter((place) => versionOf(place) !== champion);
}

function versionOf(place: string): string {
  return place.split('/')[1];
}
