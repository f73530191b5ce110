import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { PullConfig } from '../config/pull-schema.ts';
import { readJsonFile, writeJsonFile } from '../models/repository/digest.ts';

/** What a gateway keeps of the registry it follows. */
export function pullFolder(dataDir: string): string {
  return join(dataDir, 'pull');
}

/**
 * How the registry calls this gateway. Two on one host are two: a number that is drawn once tells those apart that were
 * given no name.
 */
export async function gatewayIdOf({ gatewayId }: Pick<PullConfig, 'gatewayId'>, dataDir: string): Promise<string> {
  if (gatewayId !== undefined) return gatewayId;
  const folder = pullFolder(dataDir);
  const file = join(folder, 'gateway.json');
  const { id } = await readJsonFile<{ id?: string }>(file, {});
  if (typeof id === 'string') return id;
  const fresh = `${hostname().replace(/[^\w.-]/g, '-')}-${randomBytes(4).toString('hex')}`;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeJsonFile(file, { id: fresh });
  return fresh;
}
