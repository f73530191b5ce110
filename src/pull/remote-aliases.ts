import { z } from 'zod';
import type { RouteAliasSource } from '../registry/routes/route-aliases.ts';
import { toSwitchyardError } from '../shared/errors.ts';
import { type RegistryAddress, RegistryCalls } from './registry-calls.ts';

export interface RemoteAliasesOptions extends RegistryAddress {
  /** How the registry calls this gateway: the history of a moved alias has it. */
  gatewayId(): Promise<string>;
  timeoutMs?: number;
}

const TIMEOUT_MS = 15_000;

// What this program relies on, of whatever a registry answers.
const version = z.string().regex(/^\d{1,15}$/);
const READ = z.object({
  models: z.array(z.object({ name: z.string(), aliases: z.array(z.object({ alias: z.string(), version })) })),
});
const MOVED = z.unknown();

/** Aliases of a registry behind its REST API, as the routes of a gateway follow and move them. */
export class RemoteAliases implements RouteAliasSource {
  private readonly options: RemoteAliasesOptions;
  private readonly calls: RegistryCalls;

  constructor(options: RemoteAliasesOptions) {
    this.options = options;
    this.calls = new RegistryCalls(options);
  }

  async read(models: readonly string[]): Promise<Map<string, Map<string, string>>> {
    const answer = await this.calls.json(READ, 'POST', 'serving/aliases', { models }, this.timeout());
    return new Map(
      answer.models.map(({ name, aliases }) => [name, new Map(aliases.map((each) => [each.alias, each.version]))]),
    );
  }

  async move(model: string, alias: string, expected: string, version: string, reason: string): Promise<string> {
    const path = `models/${encodeURIComponent(model)}/aliases/${encodeURIComponent(alias)}`;
    const actor = `gateway ${await this.options.gatewayId()}`;
    const wish = { version, expected_version: expected, reason, actor };
    try {
      await this.calls.json(MOVED, 'PUT', path, wish, this.timeout());
      return version;
    } catch (error) {
      if (toSwitchyardError(error).code !== 'conflict') throw error;
      return (await this.read([model])).get(model)?.get(alias) ?? '';
    }
  }

  private timeout(): AbortSignal {
    return AbortSignal.timeout(this.options.timeoutMs ?? TIMEOUT_MS);
  }
}
