import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { writeJsonFile } from '../../models/repository/digest.ts';
import { Coalesced } from '../../models/serial.ts';

/** Model → alias → version. */
type Aliases = ReadonlyMap<string, ReadonlyMap<string, string>>;

const KEPT = z.record(z.string(), z.record(z.string(), z.string()));

/** Where what aliases meant last outlives the process: routes go on by it when the registry is away at a start. */
export class AliasMemory {
  private readonly file: string;
  private readonly problem: (error: unknown) => void;
  private readonly writer = new Coalesced(() => this.write(), false);
  private newest: Aliases = new Map();
  private written: string | undefined;

  /** @param problem told when it cannot be written */
  constructor(file: string, problem: (error: unknown) => void) {
    this.file = file;
    this.problem = problem;
  }

  /** A file that is missing or damaged is nothing kept. */
  read(): Map<string, Map<string, string>> {
    try {
      const kept = Object.entries(KEPT.parse(JSON.parse(readFileSync(this.file, 'utf8'))));
      return new Map(kept.map(([model, aliases]) => [model, new Map(Object.entries(aliases))]));
    } catch {
      return new Map();
    }
  }

  /** Keeps the newest of what it is given. Resolves when that is on disk, or cannot be. Never rejects. */
  keep(aliases: Aliases): Promise<void> {
    this.newest = aliases;
    return this.writer.request();
  }

  private async write(): Promise<void> {
    const aliases = Object.fromEntries([...this.newest].map(([model, each]) => [model, Object.fromEntries(each)]));
    const text = JSON.stringify(aliases);
    if (text === this.written) return;
    try {
      await writeJsonFile(this.file, aliases);
      this.written = text;
    } catch (error) {
      this.problem(error);
    }
  }
}
