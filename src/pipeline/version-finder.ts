import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { chosenVersion } from './ready.ts';
import type { InferRequest, RequestContext, ServingModel, ServingTable, ServingVersion, Submission } from './types.ts';
import { type Waiter, WaitingRoom } from './waiting-room.ts';

const NO_SUBMISSION: Submission = { cancel() {} };
const NOTHING_MISSING: readonly string[] = [];

export interface VersionFinderParts {
  /** Asks for a known model to be loaded; the table that follows carries it, or the rejection names the reason. */
  demand(model: string): Promise<void>;
  /** A model was asked for. */
  onUsed?(model: string): void;
  /** Counts a request that failed while it waited. `at`: monotonicMs(). */
  failed(
    version: ServingVersion,
    request: Pick<InferRequest, 'id'>,
    context: RequestContext,
    error: SwitchyardError,
    at: number,
  ): void;
  /** A request waits no longer. */
  onLeft(): void;
}

/** Which version a request means, and the wait until it, and what it composes, is loaded. */
export class VersionFinder {
  table: ServingTable = { generation: 0, models: new Map() };
  private readonly waitingRoom: WaitingRoom;
  private readonly parts: VersionFinderParts;

  /** `maxWaiting` for one model. */
  constructor(maxWaiting: number, parts: VersionFinderParts) {
    this.parts = parts;
    this.waitingRoom = new WaitingRoom(maxWaiting, parts.demand, parts.onLeft);
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.waitingRoom.size;
  }

  /** A loaded version. Throws not_found, unavailable. */
  find(model: string, version: string): ServingVersion {
    const found = this.resolve(model, version);
    if (found === undefined) throw unavailableModel(this.table.models.get(model) as ServingModel);
    return found;
  }

  /** Undefined: known, but first to be loaded. Throws not_found, unavailable. */
  resolve(name: string, wanted: string): ServingVersion | undefined {
    const model = this.table.models.get(name);
    if (model === undefined) {
      throw new SwitchyardError('not_found', `Request for unknown model: '${name}' is not found`);
    }
    const { versions } = model;
    if (wanted === '') {
      const chosen = chosenVersion(model);
      if (chosen !== undefined) return chosen;
    } else {
      for (const version of versions) if (version.version === wanted) return version;
      const known = model.index.find((status) => status.version === wanted);
      if (known === undefined && !(model.onDemand && model.index.length === 0)) {
        throw new SwitchyardError('not_found', `Request for unknown model: '${name}' version ${wanted} is not found`);
      }
    }
    if (model.onDemand) return undefined;
    throw unavailableModel(model);
  }

  /**
   * The models to be loaded before a request can start: the one it asks for, and what an ensemble composes. Counts use of
   * the latter, so that the steps of a busy ensemble are not the ones to be evicted. Throws as `resolve` does.
   */
  missing(version: ServingVersion | undefined, model: string): readonly string[] {
    if (version === undefined) return [model];
    const steps = version.config.ensemble;
    if (steps === undefined) return NOTHING_MISSING;
    let missing = NOTHING_MISSING;
    for (const { modelName, modelVersion } of steps) {
      this.parts.onUsed?.(modelName);
      const deeper = this.missing(this.resolve(modelName, modelVersion), modelName);
      if (deeper.length > 0) missing = [...new Set([...missing, ...deeper])];
    }
    return missing;
  }

  /**
   * Failures count for the version. Where it is not known yet they do so when it is loaded, and not at all where it
   * cannot be.
   */
  wait(
    missing: readonly string[],
    model: string,
    version: string,
    request: Pick<InferRequest, 'id'>,
    context: RequestContext,
    { enter, failed }: Pick<Waiter, 'enter' | 'failed'>,
  ): Submission {
    const count = (error: SwitchyardError, at: number): boolean => {
      const known = this.table.models.get(model)?.versions ?? [];
      const asked = version === '' ? known[0] : known.find((each) => each.version === version);
      if (asked !== undefined) this.parts.failed(asked, request, context, error, at);
      return asked !== undefined;
    };
    const countLoaded = (error: SwitchyardError, at: number): void => {
      if (count(error, at)) return;
      // It is being loaded for others, or for this request that did not wait for the end: this starts nothing.
      this.parts.demand(model).then(
        () => count(error, at),
        () => {},
      );
    };
    try {
      return this.waitingRoom.wait(
        {
          model,
          context,
          enter,
          failed: (error, at) => {
            if (error.code === 'deadline_exceeded' || error.code === 'cancelled') countLoaded(error, at);
            else count(error, at);
            if (error.code !== 'cancelled') failed(error, at);
          },
        },
        missing,
      );
    } catch (error) {
      const refusal = toSwitchyardError(error);
      const now = monotonicMs();
      if (refusal.code === 'overloaded') countLoaded(refusal, now);
      else count(refusal, now);
      failed(refusal, now);
      return NO_SUBMISSION;
    }
  }
}

function unavailableModel(model: ServingModel): SwitchyardError {
  const states = model.index.map(
    (status) => `version ${status.version} is ${status.state}${status.reason === '' ? '' : `: ${status.reason}`}`,
  );
  return new SwitchyardError(
    'unavailable',
    `Request for model '${model.name}' cannot be served: it is not ready (${states.join('; ') || 'no version found'})`,
  );
}
