/** Something that was committed: "run.created", "job.updated" and so on. */
export interface RegistryEvent {
  type: string;
  /** Milliseconds since 1970. */
  at: number;
  data: Readonly<Record<string, unknown>>;
}

export type EventListener = (event: RegistryEvent) => void;

/** Tells listeners in this process what was committed, in the order of the calls. Nothing is kept. */
export class RegistryEvents {
  private readonly listeners = new Set<EventListener>();
  private readonly onError: (error: unknown) => void;

  constructor(onError: (error: unknown) => void) {
    this.onError = onError;
  }

  /** @returns ends the subscription. */
  subscribe(listener: EventListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Call it after the write resolved. What webhooks hear is queued in the write itself: see commit.ts. */
  emit(type: string, data: Readonly<Record<string, unknown>>): void {
    if (this.listeners.size === 0) return;
    const event = { type, at: Date.now(), data };
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        this.onError(error);
      }
    }
  }
}
