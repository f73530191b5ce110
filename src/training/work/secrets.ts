import { readFileSync } from 'node:fs';
import type { TrainingConfig } from '../../config/training-schema.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';

type Secrets = TrainingConfig['secrets'];
type Environment = Readonly<Record<string, string | undefined>>;

/** Where a secret lies: one of the two. */
export interface Place {
  env?: string | undefined;
  file?: string | undefined;
}

/** Throws invalid_argument for a secret that the settings do not name. */
export function checkSecrets(refs: Readonly<Record<string, string>>, secrets: Secrets): void {
  for (const [variable, name] of Object.entries(refs)) {
    if (Object.hasOwn(secrets, name)) continue;
    const known = Object.keys(secrets).join(', ') || 'none';
    throw invalidArgument(
      `spec.secretRefs.${variable}: ${JSON.stringify(name)} is not in training.secrets; there are: ${known}`,
    );
  }
}

/** The values by variable, read now. Throws failed_precondition naming the secret, never its value. */
export function readSecrets(
  refs: Readonly<Record<string, string>>,
  secrets: Secrets,
  environment: Environment,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(refs).map(([variable, name]) => [variable, readSecret(name, secrets[name] ?? {}, environment)]),
  );
}

function readSecret(name: string, place: Place, environment: Environment): string {
  return readPlace(`secret ${JSON.stringify(name)}`, place, environment);
}

/** The value that lies there now. Throws failed_precondition naming `what` and the place, never the value. */
export function readPlace(what: string, { env, file }: Place, environment: Environment): string {
  let value: string | undefined;
  try {
    value = env !== undefined ? environment[env] : readFileSync(file ?? '', 'utf8').replace(/\r?\n$/, '');
  } catch {
    value = undefined;
  }
  if (value !== undefined && !value.includes('\0')) return value;
  const where = env !== undefined ? `variable ${env}` : 'file';
  throw new SwitchyardError('failed_precondition', `${what}: its ${where} cannot be read on the server`);
}
