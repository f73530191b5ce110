import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A decision that waits for its reward, as it is written down. */
export interface KeptDecision {
  /** Of all decisions of the journal: grows, also over restarts. */
  seq: number;
  id: string;
  /** Milliseconds since 1970. */
  due: number;
  arm: number;
  context: number[] | undefined;
  failed: boolean;
  bucket: number;
  /** Who asked; '': an earlier version of the program did not write it down. */
  tenant: string;
  /** Of the arm, that was asked; '': not known, or not written down. */
  version: string;
}

export interface KeptReward {
  id: string;
  reward: number;
  event: string | undefined;
}

/** What earlier processes left, in the order it was written. */
export interface Kept {
  entries: (KeptDecision | KeptReward)[];
  /** Who wrote: what they have learnt already is to be asked of where they told it. Empty: nothing is left. */
  owners: ReadonlySet<string>;
  /** Of the decision to come. */
  next: number;
}

interface Segment {
  file: string;
  bytes: number;
  /** The greatest seq in it or before; −1: none. */
  last: number;
}

export interface JournalSettings {
  /** One for each route. */
  folder: string;
  /** Of the strategy: what was written under another one is thrown away. */
  print: string;
  /** This gateway's name among those that count. */
  owner: string;
  problem(message: string, fields: object): void;
  segmentBytes?: number;
  maxBytes?: number;
}

const SEGMENT_BYTES = 4 << 20;
const MAX_BYTES = 512 << 20;

/**
 * Decisions that wait for rewards, and the rewards that came, on disk: a gateway that is killed goes on waiting when it
 * is back. Lines of JSON in files of a few megabytes. Decisions mature in the order they were written, so the first that
 * has not been learnt (its seq is kept with what was learnt) tells which files are done with. Nothing is synced: it
 * outlives the process, not a machine that loses power.
 */
export class WaitingJournal {
  private readonly settings: Required<JournalSettings>;
  private owner: string;
  /** The name this gateway had before: nobody is to be asked for it any more. */
  private formerly: string | undefined;
  private segments: Segment[] = [];
  private number = 0;
  /** The last of the segments is open for writing. */
  private open = false;
  private lines: string[] = [];
  private last = -1;
  private writing = Promise.resolve();
  private failing = false;
  private dropped = false;

  constructor(settings: JournalSettings) {
    this.settings = { segmentBytes: SEGMENT_BYTES, maxBytes: MAX_BYTES, ...settings };
    this.owner = settings.owner;
  }

  /** To be called once, first. What cannot be read is told and left out. */
  read(): Kept {
    const { folder, print } = this.settings;
    const entries: Kept['entries'] = [];
    const owners = new Set<string>();
    const files = existsSync(folder) ? readdirSync(folder).filter((name) => /^\d{12}\.jsonl$/.test(name)) : [];
    for (const name of files.sort()) {
      this.number = Number(name.slice(0, 12)) + 1;
      const file = join(folder, name);
      try {
        const text = readFileSync(file, 'utf8');
        const [head, ...lines] = text.split('\n').map(readLine);
        const { print: of, owner, formerly } = (head ?? {}) as { print?: string; owner?: string; formerly?: string };
        if (of !== print || owner === undefined) {
          rmSync(file, { force: true });
          continue;
        }
        owners.add(owner);
        if (formerly !== undefined) owners.delete(formerly);
        for (const line of lines) {
          if (!Array.isArray(line)) continue;
          const entry = entryOf(line);
          if ('seq' in entry) this.last = Math.max(this.last, entry.seq);
          entries.push(entry);
        }
        this.segments.push({ file, bytes: Buffer.byteLength(text), last: this.last });
      } catch (error) {
        this.settings.problem('decisions that waited for rewards cannot be read; they are left out', {
          file,
          err: error,
        });
      }
    }
    return { entries, owners, next: this.last + 1 };
  }

  decided({ seq, id, due, arm, context, failed, bucket, tenant, version }: KeptDecision): void {
    this.last = seq;
    this.lines.push(JSON.stringify([seq, id, due, arm, Number(failed), bucket, tenant, version, ...(context ?? [])]));
  }

  rewarded({ id, reward, event }: KeptReward): void {
    this.lines.push(JSON.stringify(event === undefined ? [id, reward] : [id, reward, event]));
  }

  /** Resolves when the system has everything that was told before. Never rejects. */
  flush(): Promise<void> {
    if (this.lines.length === 0 || this.dropped) return this.writing;
    const text = `${this.lines.join('\n')}\n`;
    const { last } = this;
    this.lines = [];
    return this.chain(() => this.write(text, last));
  }

  /** This gateway is an owner from now on, also if it writes nothing else. */
  begin(): void {
    void this.chain(() => this.write('', this.last));
  }

  /** This gateway tells what it learnt under another name from now on. */
  rename(owner: string): void {
    void this.chain(async () => {
      this.formerly = this.owner;
      this.owner = owner;
      this.open = false;
      await this.write('', this.last);
    });
  }

  /** @param learnt seq of the first decision that is not learnt, as of what was kept with the sums */
  prune(learnt: number): void {
    const [first] = this.segments;
    if (first === undefined || first.last >= learnt || (this.open && this.segments.length === 1)) return;
    void this.chain(async () => {
      while (this.segments.length > (this.open ? 1 : 0) && this.segments[0].last < learnt)
        await rm(this.segments.shift()!.file, { force: true });
    });
  }

  /** Its route is gone, or has another strategy: nothing is written any more. */
  drop(): void {
    this.dropped = true;
  }

  private chain(work: () => Promise<void>): Promise<void> {
    this.writing = this.writing.then(async () => {
      try {
        if (!this.dropped) await work();
        this.failing = false;
      } catch (error) {
        // A part of a line may have been written.
        this.open = false;
        this.tell('decisions that wait for rewards cannot be written down: a restart would lose them', { err: error });
      }
    });
    return this.writing;
  }

  private async write(text: string, last: number): Promise<void> {
    const { folder, print, segmentBytes, maxBytes } = this.settings;
    const total = this.segments.reduce((sum, { bytes }) => sum + bytes, 0);
    if (total + text.length > maxBytes)
      throw new Error(`${total} bytes are kept in ${folder}; ${maxBytes} are allowed`);
    let head = '';
    if (!this.open || this.segments[this.segments.length - 1].bytes >= segmentBytes) {
      mkdirSync(folder, { recursive: true });
      this.segments.push({ file: join(folder, `${String(this.number++).padStart(12, '0')}.jsonl`), bytes: 0, last });
      this.open = true;
      head = `${JSON.stringify({ print, owner: this.owner, formerly: this.formerly })}\n`;
    }
    const segment = this.segments[this.segments.length - 1];
    await appendFile(segment.file, head + text);
    segment.bytes += Buffer.byteLength(head) + Buffer.byteLength(text);
    segment.last = last;
  }

  private tell(message: string, fields: object): void {
    if (!this.failing) this.settings.problem(message, fields);
    this.failing = true;
  }
}

/** Undefined: no JSON, such as a line that was cut off. */
function readLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Decisions begin with a number, rewards with an id. */
function entryOf(line: unknown[]): KeptDecision | KeptReward {
  if (typeof line[0] === 'string') {
    const [id, reward, event] = line as [string, number, string | undefined];
    return { id, reward, event };
  }
  const [seq, id, due, arm, failed, bucket, ...rest] = line as [
    number,
    string,
    number,
    number,
    number,
    number,
    ...unknown[],
  ];
  // Earlier versions of the program wrote no version, or neither tenant nor version, before the numbers.
  const [tenant = '', version = ''] = rest.filter((each) => typeof each === 'string');
  const context = rest.filter((each) => typeof each === 'number');
  return {
    seq,
    id,
    due,
    arm,
    failed: failed === 1,
    bucket,
    tenant,
    version,
    context: context.length === 0 ? undefined : context,
  };
}
