import { decideShed } from '../admission/shedding.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import type { RequestContext, Submission } from './types.ts';

/** Under a tight memory budget a model may be evicted for another before its request comes round. */
const DEMAND_TRIES = 3;
/** Node's timers go no further; a deadline beyond it is none. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const NOBODY: Submission = { cancel() {} };

/** A request that waits for models. Exactly one of the two is called, unless it is cancelled. */
export interface Waiter {
  /** The model it asked for. */
  readonly model: string;
  readonly context: RequestContext;
  /** Everything may be there: starts the request. Returns the models that are missing after all. Throws SwitchyardError. */
  enter(): Submission | readonly string[];
  /** `at`: monotonicMs() of the failure. */
  failed(error: SwitchyardError, at: number): void;
}

/**
 * Where requests wait while models are loaded for them. They keep their deadlines here, and a model that takes its time
 * holds no more of them than an executor would.
 */
export class WaitingRoom {
  private readonly maxWaiting: number;
  private readonly demand: (model: string) => Promise<void>;
  private readonly onLeft: () => void;
  private readonly waiting = new Map<string, number>();
  size = 0;

  /** `maxWaiting` per model, 0: no limit. `onLeft`: somebody has left. */
  constructor(maxWaiting: number, demand: (model: string) => Promise<void>, onLeft: () => void) {
    this.maxWaiting = maxWaiting;
    this.demand = demand;
    this.onLeft = onLeft;
  }

  /** Has the missing models loaded, then lets the request enter. Throws overloaded when too many wait already. */
  wait(waiter: Waiter, missing: readonly string[]): Submission {
    const { model, context } = waiter;
    const verdict = decideShed({
      outstanding: this.waiting.get(model) ?? 0,
      maxOutstanding: this.maxWaiting,
      predictedWaitMs: 0,
      deadlineLeftMs: context.deadline - monotonicMs(),
      priority: context.priority,
      // The model's levels are known with its configuration.
      priorityLevels: 0,
    });
    if (verdict?.reason === 'deadline') throw late(waiter, monotonicMs());
    if (verdict !== null) {
      throw new SwitchyardError('overloaded', `Too many requests wait for model '${model}' to be loaded; retry later`, {
        retryAfterMs: verdict.retryAfterMs,
      });
    }
    this.waiting.set(model, (this.waiting.get(model) ?? 0) + 1);
    this.size++;
    let here = true;
    let inside = NOBODY;
    const leave = (): void => {
      here = false;
      clearTimeout(timer);
      this.left(model);
    };
    const fail = (error: SwitchyardError): void => {
      if (!here) return;
      leave();
      waiter.failed(error, monotonicMs());
    };
    const left = context.deadline - monotonicMs();
    const timer =
      left > MAX_TIMER_MS ? undefined : setTimeout(() => fail(late(waiter, monotonicMs())), Math.ceil(left));
    const demanded = new Set<string>();
    const load = (models: readonly string[], tries: number): void => {
      for (const each of models) demanded.add(each);
      Promise.all(models.map((each) => this.demand(each))).then(
        () => {
          if (!here) return;
          try {
            const entered = waiter.enter();
            if ('cancel' in entered) {
              inside = entered;
              leave();
            } else if (entered.some((each) => !demanded.has(each))) load(entered, tries);
            else if (tries > 1) load(entered, tries - 1);
            else fail(crowdedOut(model, entered));
          } catch (error) {
            fail(toSwitchyardError(error));
          }
        },
        (error: unknown) => fail(toSwitchyardError(error)),
      );
    };
    load(missing, DEMAND_TRIES);
    return {
      cancel: () => {
        if (here) fail(new SwitchyardError('cancelled', 'The client went away'));
        else inside.cancel();
      },
    };
  }

  private left(model: string): void {
    const others = (this.waiting.get(model) ?? 1) - 1;
    if (others === 0) this.waiting.delete(model);
    else this.waiting.set(model, others);
    this.size--;
    this.onLeft();
  }
}

function late({ model, context }: Waiter, now: number): SwitchyardError {
  return new SwitchyardError(
    'deadline_exceeded',
    `The deadline of the request to model '${model}' passed after ${(now - context.receivedAt).toFixed(0)} ms, while it was being loaded`,
  );
}

function crowdedOut(model: string, missing: readonly string[]): SwitchyardError {
  const which = missing.length === 1 && missing[0] === model ? 'it' : missing.map((each) => `'${each}'`).join(', ');
  return new SwitchyardError(
    'unavailable',
    `Request for model '${model}' cannot be served: ${which} was loaded and evicted again for others; raise models.memoryBudgetBytes, or retry`,
    { retryAfterMs: 1000 },
  );
}
