import type { KeptReference } from '../config/model-validation.ts';
import type { ServingTable } from '../pipeline/types.ts';
import { toSwitchyardError } from '../shared/errors.ts';
import { type DoorSchema, type DoorSchemas, keptKey } from './door.ts';
import type { SchemaVersion } from './schemas.ts';

interface Parts {
  /** Rejects with not_found. */
  read(name: string, version: number | undefined): Promise<Pick<SchemaVersion, 'version' | 'schema'>>;
  /** Gives gateway threads all of them. */
  publish(schemas: DoorSchemas): void;
  log(level: 'info' | 'warn', message: string, fields: Record<string, unknown>): void;
}

/**
 * The kept schemas that served models name, on the control thread. Gateway threads know one before they serve a model that
 * names it, and get its next version when it is kept. One that cannot be read any more stays as it was last.
 */
export class KeptAtDoor {
  private readonly parts: Parts;
  private wanted = new Map<string, KeptReference>();
  private known = new Map<string, DoorSchema>();

  constructor(parts: Parts) {
    this.parts = parts;
  }

  /** Resolves when gateway threads were sent the schemas of all models of a table. Never rejects. */
  async follow({ models }: ServingTable): Promise<void> {
    const wanted = new Map<string, KeptReference>();
    for (const { versions } of models.values())
      for (const { config } of versions) {
        const kept = config.validation?.schema;
        if (kept !== undefined) wanted.set(keptKey(kept), kept);
      }
    this.wanted = wanted;
    for (const key of this.known.keys()) if (!wanted.has(key)) this.known.delete(key);
    if ([...wanted.keys()].some((key) => !this.known.has(key))) await this.refresh();
  }

  /** Looks for new versions. Never rejects. */
  async refresh(): Promise<void> {
    let changed = false;
    for (const [key, { name, version }] of this.wanted) {
      const before = this.known.get(key);
      const now = await this.look(key, name, version, before);
      if (before !== undefined && before.version === now.version && before.problem === now.problem) continue;
      changed = true;
      this.known.set(key, now);
      if (now.problem !== '')
        this.parts.log('warn', 'a schema that models are checked by at the door is not there', { reason: now.problem });
      else this.parts.log('info', 'requests are checked by a kept schema', { schema: name, version: now.version });
    }
    if (changed) this.parts.publish(new Map(this.known));
  }

  private async look(
    key: string,
    name: string,
    version: number | undefined,
    before: DoorSchema | undefined,
  ): Promise<DoorSchema> {
    try {
      const found = await this.parts.read(name, version);
      return { version: found.version, fields: found.schema.fields, problem: '' };
    } catch (error) {
      if (before?.problem === '') return before;
      const { message } = toSwitchyardError(error);
      return { version: 0, fields: {}, problem: `schema ${key}: ${message}` };
    }
  }
}
