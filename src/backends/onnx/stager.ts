import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { NativeStager } from '../../tensor/native.ts';

/** One answered batch, while its slot is held. */
interface Waiting {
  rows: number;
  outputs: number[];
  resolve(buffers: ArrayBuffer[]): void;
  reject(error: Error): void;
}

/** A model on one GPU: batches go in by slots, and come out in the same order. */
export interface Stager {
  readonly device: number;
  /** Slots that can be used; 0 once the GPU is lost. */
  readonly slots: number;
  readonly inFlight: number;
  /** Called when the GPU is lost. */
  onLost?: () => void;
  /** Milliseconds in which at least one batch was in flight, up to the last one that ended. */
  readonly busyMs: number;
  /**
   * Runs a batch: inputs in the plan's order, each in pieces of whole rows, the last of which is repeated where they are less
   * than `rows`; outputs by their numbers in the plan. Rejects with the runtime's message.
   */
  run(rows: number, inputs: readonly (readonly Uint8Array[])[], outputs: number[]): Promise<ArrayBuffer[]>;
  close(): void;
}

/** Starts to open one; `wake` is to be called whenever the addon says so. */
export type OpenStager = (device: number, wake: () => void) => object;

/** Resolves once the model is on the GPU and its graphs are captured. Rejects with the runtime's message. */
export function openStager(
  addon: NativeStager,
  device: number,
  open: OpenStager,
  now: () => number = monotonicMs,
): Promise<Stager> {
  return new Promise((resolve, reject) => {
    const waiting = new Map<number, Waiting>();
    let slots = 0;
    let opened = false;
    let busyMs = 0;
    /** From here on the GPU's time is not counted yet, while batches are in flight. */
    let countedTo = 0;
    const lose = () => {
      slots = 0;
      stager.onLost?.();
    };
    const answer = () => {
      if (waiting.size > 0) {
        const at = now();
        busyMs += at - countedTo;
        countedTo = at;
      }
      for (const { slot, problem, lost } of addon.stageAnswered(handle)) {
        const { rows, outputs, resolve, reject } = waiting.get(slot)!;
        waiting.delete(slot);
        if (lost) lose();
        try {
          const buffers = addon.stageRead(handle, slot, rows, problem === '' ? outputs : []);
          if (problem === '') resolve(buffers);
          else reject(new Error(problem));
        } catch (error) {
          reject(error as Error);
        }
      }
    };
    const wake = () => {
      if (opened) return answer();
      const state = addon.stageState(handle);
      if (state.open) {
        opened = true;
        slots = state.slots;
        resolve(stager);
      } else if (state.problem !== '') {
        addon.stageClose(handle);
        reject(new Error(state.problem));
      }
    };
    const stager: Stager = {
      device,
      get slots() {
        return slots;
      },
      get inFlight() {
        return waiting.size;
      },
      get busyMs() {
        return busyMs;
      },
      run(rows, inputs, outputs) {
        return new Promise((resolve, reject) => {
          const slot = addon.stageRun(handle, rows, inputs);
          if (slot < 0) {
            if (addon.stageState(handle).lost) lose();
            throw new SwitchyardError('unavailable', slots === 0 ? `GPU ${device} is lost` : 'no slot is free');
          }
          if (waiting.size === 0) countedTo = now();
          waiting.set(slot, { rows, outputs, resolve, reject });
        });
      },
      close() {
        addon.stageClose(handle);
        for (const { reject } of waiting.values()) reject(new SwitchyardError('unavailable', 'the model is unloaded'));
        waiting.clear();
      },
    };
    const handle = open(device, wake);
  });
}

/** The GPU for the next batch: the one with most free slots, undefined when none has one. */
export function chooseStager<T extends Pick<Stager, 'slots' | 'inFlight'>>(stagers: readonly T[]): T | undefined {
  let chosen: T | undefined;
  let most = 0;
  for (const stager of stagers) {
    const free = stager.slots - stager.inFlight;
    if (free > most) {
      most = free;
      chosen = stager;
    }
  }
  return chosen;
}
