/**
 * Regular expressions that run in time linear in the text, whatever they are: a lazily built automaton, without
 * back references and lookaround. Routes take patterns from configuration and run them on what clients send, where a
 * backtracking engine could be held up for minutes by one header.
 */
export interface Pattern {
  /** True if the pattern occurs somewhere in the text; anchor with ^ and $. */
  test(text: string): boolean;
}

/** Program steps a pattern may compile to; {m,n} multiplies. */
const MAX_STEPS = 2000;
/** Cached states of the automaton; when full it starts afresh. */
const MAX_STATES = 500;

type Step =
  | { kind: 'set'; ranges: [number, number][]; next: number }
  | { kind: 'split'; next: number; other: number }
  | { kind: 'start'; next: number }
  | { kind: 'end'; next: number }
  | { kind: 'accept' };

/** Throws Error with what is wrong and where. */
export function compilePattern(source: string): Pattern {
  const steps = new Parser(source).program();
  return new Automaton(steps.steps, steps.entry);
}

type Node =
  | { kind: 'set'; ranges: [number, number][] }
  | { kind: 'list' | 'either'; items: Node[] }
  | { kind: 'repeat'; item: Node; min: number; max: number }
  | { kind: 'start' | 'end' };

const LAST = 0xffff;
const CLASSES: Record<string, [number, number][]> = {
  d: [[48, 57]],
  w: [
    [48, 57],
    [65, 90],
    [95, 95],
    [97, 122],
  ],
  s: [
    [9, 13],
    [32, 32],
    [160, 160],
  ],
};
const CONTROLS: Record<string, number> = { n: 10, r: 13, t: 9, f: 12, v: 11, '0': 0 };

class Parser {
  private readonly source: string;
  private at = 0;
  private depth = 0;

  constructor(source: string) {
    this.source = source;
  }

  program(): { steps: Step[]; entry: number } {
    const tree = this.either();
    if (this.at < this.source.length) this.fail('")" without "("');
    const steps: Step[] = [{ kind: 'accept' }];
    return { steps, entry: emit(tree, 0, steps) };
  }

  private either(): Node {
    if (++this.depth > 50) this.fail('nests deeper than 50');
    const items = [this.list()];
    while (this.peek() === '|') {
      this.at++;
      items.push(this.list());
    }
    this.depth--;
    return items.length === 1 ? items[0] : { kind: 'either', items };
  }

  private list(): Node {
    const items: Node[] = [];
    while (this.at < this.source.length && this.peek() !== '|' && this.peek() !== ')') items.push(this.repeat());
    return { kind: 'list', items };
  }

  private repeat(): Node {
    const item = this.atom();
    const bounds = this.bounds();
    if (bounds === undefined) return item;
    if (item.kind === 'start' || item.kind === 'end') this.fail('nothing to repeat');
    // Greedy or lazy makes no difference to whether there is a match.
    if (this.peek() === '?') this.at++;
    if (this.bounds() !== undefined) this.fail('repeats a repetition; use a group');
    return { kind: 'repeat', item, min: bounds[0], max: bounds[1] };
  }

  private bounds(): [number, number] | undefined {
    const simple: Record<string, [number, number]> = {
      '*': [0, Number.POSITIVE_INFINITY],
      '+': [1, Number.POSITIVE_INFINITY],
      '?': [0, 1],
    };
    const found = simple[this.peek()];
    if (found !== undefined) {
      this.at++;
      return found;
    }
    const counted = /^\{(\d{1,4})(,(\d{0,4}))?\}/.exec(this.source.slice(this.at));
    if (counted === null) return undefined;
    this.at += counted[0].length;
    const min = Number(counted[1]);
    const max = counted[2] === undefined ? min : counted[3] === '' ? Number.POSITIVE_INFINITY : Number(counted[3]);
    if (max < min) this.fail('the bounds of {m,n} are the wrong way round');
    return [min, max];
  }

  private atom(): Node {
    const char = this.source[this.at++];
    if (char === '(') return this.group();
    if (char === '[') return { kind: 'set', ranges: this.set() };
    if (char === '.')
      return {
        kind: 'set',
        ranges: negate([
          [10, 10],
          [13, 13],
        ]),
      };
    if (char === '^') return { kind: 'start' };
    if (char === '$') return { kind: 'end' };
    if (char === '\\') return { kind: 'set', ranges: this.escape() };
    if ('*+?'.includes(char)) this.fail(`nothing to repeat before "${char}"`);
    return { kind: 'set', ranges: one(char.charCodeAt(0)) };
  }

  private group(): Node {
    if (this.peek() === '?') {
      if (this.source[this.at + 1] !== ':') this.fail('lookaround and named groups are not supported');
      this.at += 2;
    }
    const inner = this.either();
    if (this.peek() !== ')') this.fail('"(" without ")"');
    this.at++;
    return inner;
  }

  private escape(): [number, number][] {
    const char = this.source[this.at++];
    if (char === undefined) this.fail('ends in a backslash');
    const known = CLASSES[char.toLowerCase()];
    if (known !== undefined) return char === char.toLowerCase() ? known : negate(known);
    if (char in CONTROLS) return one(CONTROLS[char]);
    if (/[1-9bBkpPux]/.test(char)) this.fail(`\\${char} is not supported`);
    return one(char.charCodeAt(0));
  }

  private set(): [number, number][] {
    const ranges: [number, number][] = [];
    const negative = this.peek() === '^';
    if (negative) this.at++;
    for (;;) {
      if (this.at >= this.source.length) this.fail('"[" without "]"');
      let char = this.source[this.at++];
      if (char === ']') break;
      const low = char === '\\' ? this.escape() : one(char.charCodeAt(0));
      if (this.peek() !== '-' || this.source[this.at + 1] === ']') {
        ranges.push(...low);
        continue;
      }
      this.at++;
      char = this.source[this.at++] ?? '';
      if (char === '') this.fail('"[" without "]"');
      const high = char === '\\' ? this.escape() : one(char.charCodeAt(0));
      if (low.length !== 1 || low[0][0] !== low[0][1] || high.length !== 1 || high[0][1] < low[0][0]) {
        this.fail('a range in [] has wrong ends');
      }
      ranges.push([low[0][0], high[0][1]]);
    }
    return negative ? negate(ranges) : ranges;
  }

  private peek(): string {
    return this.source[this.at] ?? '';
  }

  private fail(message: string): never {
    throw new Error(`pattern ${JSON.stringify(this.source)}: ${message} (at character ${this.at})`);
  }
}

function one(code: number): [number, number][] {
  return [[code, code]];
}

function negate(ranges: readonly [number, number][]): [number, number][] {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const result: [number, number][] = [];
  let from = 0;
  for (const [low, high] of sorted) {
    if (low > from) result.push([from, low - 1]);
    from = Math.max(from, high + 1);
  }
  if (from <= LAST) result.push([from, LAST]);
  return result;
}

/** Appends the steps of a node, which go on at `next`; returns where it is entered. */
function emit(node: Node, next: number, steps: Step[]): number {
  const add = (step: Step): number => {
    if (steps.length >= MAX_STEPS) throw new Error(`the pattern is too large (more than ${MAX_STEPS} steps)`);
    return steps.push(step) - 1;
  };
  switch (node.kind) {
    case 'set':
      return add({ kind: 'set', ranges: node.ranges, next });
    case 'start':
    case 'end':
      return add({ kind: node.kind, next });
    case 'list':
      return node.items.reduceRight((after, item) => emit(item, after, steps), next);
    case 'either': {
      const entries = node.items.map((item) => emit(item, next, steps));
      return entries.reduceRight((other, entry) => add({ kind: 'split', next: entry, other }));
    }
    case 'repeat': {
      let after = next;
      if (node.max === Number.POSITIVE_INFINITY) {
        const loop = { kind: 'split' as const, next: 0, other: next };
        after = add(loop);
        loop.next = emit(node.item, after, steps);
      } else {
        for (let i = node.min; i < node.max; i++) {
          const entry = emit(node.item, after, steps);
          after = add({ kind: 'split', next: entry, other: next });
        }
      }
      for (let i = 0; i < node.min; i++) after = emit(node.item, after, steps);
      return after;
    }
  }
}

interface State {
  /** Places in the program, sorted. */
  places: number[];
  accepted: boolean;
  /** Accepts if the text ends here. */
  atEnd: boolean;
  /** By ASCII code; the others are looked up each time. */
  next: (State | undefined)[];
}

class Automaton implements Pattern {
  private readonly steps: Step[];
  private readonly entry: number;
  private states = new Map<string, State>();
  private first: State;
  /** Clients send the same few texts over and over. */
  private last = '';
  private lastFound: boolean;

  constructor(steps: Step[], entry: number) {
    this.steps = steps;
    this.entry = entry;
    this.first = this.state(new Set([entry]), true);
    this.lastFound = this.find('');
  }

  test(text: string): boolean {
    if (text === this.last) return this.lastFound;
    this.lastFound = this.find(text);
    this.last = text;
    return this.lastFound;
  }

  private find(text: string): boolean {
    let state = this.first;
    for (let i = 0; i < text.length; i++) {
      if (state.accepted) return true;
      const code = text.charCodeAt(i);
      state = (code < 128 ? state.next[code] : undefined) ?? this.step(state, code);
    }
    return state.accepted || state.atEnd;
  }

  private step(state: State, code: number): State {
    const targets = new Set<number>();
    for (const place of state.places) {
      const step = this.steps[place];
      if (step.kind === 'set' && step.ranges.some(([low, high]) => code >= low && code <= high)) targets.add(step.next);
    }
    // The search is not anchored: it may begin at every character.
    targets.add(this.entry);
    const next = this.state(targets, false);
    if (code < 128) state.next[code] = next;
    return next;
  }

  private state(entries: Set<number>, atStart: boolean): State {
    const places = this.closure(entries, atStart, false);
    const key = `${atStart}${places.join()}`;
    const known = this.states.get(key);
    if (known !== undefined) return known;
    if (this.states.size >= MAX_STATES) this.forget();
    const state: State = {
      places,
      accepted: places.includes(0),
      atEnd: this.closure(entries, atStart, true).includes(0),
      next: new Array<State | undefined>(128).fill(undefined),
    };
    this.states.set(key, state);
    return state;
  }

  private forget(): void {
    for (const state of this.states.values()) state.next.fill(undefined);
    this.states.clear();
    this.states.set('first', this.first);
  }

  /** All places reachable without a character. */
  private closure(entries: Set<number>, atStart: boolean, atEnd: boolean): number[] {
    const seen = new Set<number>();
    const pending = [...entries];
    for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
      if (seen.has(place)) continue;
      seen.add(place);
      const step = this.steps[place];
      if (step.kind === 'split') pending.push(step.next, step.other);
      else if ((step.kind === 'start' && atStart) || (step.kind === 'end' && atEnd)) pending.push(step.next);
    }
    return [...seen].sort((a, b) => a - b);
  }
}
