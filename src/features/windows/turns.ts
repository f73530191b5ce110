/** Lets works on the same thing run one after the other. */
export class Turns {
  private readonly last = new Map<string, Promise<unknown>>();

  take<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.last.get(name) ?? Promise.resolve();
    const done = before.then(work, work);
    this.last.set(name, done);
    const forget = (): void => {
      if (this.last.get(name) === done) this.last.delete(name);
    };
    done.then(forget, forget);
    return done;
  }
}
