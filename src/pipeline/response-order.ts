/** A request's place among those of its model that must be answered in the order in which they came. */
export interface Turn {
  readonly line: Line;
  /** Set once its answer is here and waits for those before it. */
  deliver: (() => void) | undefined;
  ended: boolean;
}

/**
 * Holds answers back until all requests that came before have ended, for models with `preserve_ordering`: their
 * executors are not equally fast. A line for each version and priority level; those without a request are forgotten.
 */
export class ResponseOrder {
  readonly #lines = new Map<string, Line>();

  enter(handle: number, priority: number): Turn {
    const key = `${handle}/${priority}`;
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = new Line(() => this.#lines.delete(key));
      this.#lines.set(key, line);
    }
    return line.enter();
  }

  /** Lines in which someone waits. */
  get size(): number {
    return this.#lines.size;
  }
}

class Line {
  #turns: Turn[] = [];
  #first = 0;
  #releasing = false;
  readonly #onEmpty: () => void;

  constructor(onEmpty: () => void) {
    this.#onEmpty = onEmpty;
  }

  enter(): Turn {
    const turn: Turn = { line: this, deliver: undefined, ended: false };
    this.#turns.push(turn);
    return turn;
  }

  /** `deliver` is called now, or as soon as everything before has been answered or has left. */
  answer(turn: Turn, deliver: () => void): void {
    turn.deliver = deliver;
    this.#release();
  }

  /** It ended without waiting for the others: nobody waits for it any more. */
  leave(turn: Turn): void {
    turn.ended = true;
    turn.deliver = undefined;
    this.#release();
  }

  #release(): void {
    // What is delivered may bring the next request, or end another one: the loop that runs already sees it.
    if (this.#releasing) return;
    this.#releasing = true;
    while (this.#first < this.#turns.length) {
      const turn = this.#turns[this.#first];
      const { deliver } = turn;
      if (!turn.ended && deliver === undefined) break;
      this.#first++;
      turn.ended = true;
      deliver?.();
    }
    this.#releasing = false;
    if (this.#first === this.#turns.length) this.#onEmpty();
    else if (this.#first < 1024 || this.#first < this.#turns.length / 2) return;
    this.#turns = this.#turns.slice(this.#first);
    this.#first = 0;
  }
}
