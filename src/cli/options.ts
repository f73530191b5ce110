import { type Command, InvalidArgumentError, Option } from 'commander';
import type { AdminClient } from '../client/admin.ts';
import { CliError, EXIT } from './io.ts';

export function port(value: string): number {
  const parsed = Number(value);
  if (!/^\d+$/.test(value) || parsed > 65535) throw new InvalidArgumentError('a port is a number from 0 to 65535');
  return parsed;
}

export function positiveInteger(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('give a whole number from 1');
  return Number(value);
}

export function positiveNumber(value: string): number {
  const parsed = Number(value);
  if (value.trim() === '' || !Number.isFinite(parsed) || parsed <= 0)
    throw new InvalidArgumentError('give a number above 0');
  return parsed;
}

/** Collects a repeatable flag; the environment's value is a colon-separated list. */
export function list(value: string, previous: string[] = []): string[] {
  return [...previous, ...value.split(':').filter((part) => part !== '')];
}

/** Collects a repeatable flag. */
export function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

/** Texts such as team=fraud by name. Throws CliError naming the flag that they came by. */
export function pairs(list: readonly string[], flag: string): Record<string, string> {
  return Object.fromEntries(
    list.map((pair) => {
      const at = pair.indexOf('=');
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
      throw new CliError(`${flag} ${JSON.stringify(pair)} is not of the form name=value`, EXIT.usage);
    }),
  );
}

export interface ServerFlags {
  url: string;
  apiKey?: string;
  modelVersion?: string;
}

/** Flags of the verbs that ask the inference port. */
export function withServer(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', 'HTTP address of the server').env('SWITCHYARD_URL').default('http://127.0.0.1:8000'),
    )
    .addOption(new Option('--api-key <key>', 'API key or JWT; better given by the variable').env('SWITCHYARD_API_KEY'))
    .option('--model-version <version>', 'default: by the version policy');
}

export interface AdminFlags {
  admin: string;
  token?: string;
  output: 'json' | 'table';
}

/** Flags of the verbs that ask the admin port. */
export function withAdmin(command: Command): Command {
  return command
    .addOption(
      new Option('--admin <url>', 'admin address of the server')
        .env('SWITCHYARD_ADMIN')
        .default('http://127.0.0.1:8080'),
    )
    .addOption(new Option('--token <token>', 'admin token; better given by the variable').env('SWITCHYARD_ADMIN_TOKEN'))
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'));
}

export async function connect(flags: AdminFlags): Promise<AdminClient> {
  const { AdminClient } = await import('../client/admin.ts');
  return new AdminClient({ url: flags.admin, token: flags.token });
}
