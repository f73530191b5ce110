import { pino } from 'pino';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import type { Config } from '../config/schema.ts';
import { kafkaClients, kafkaConfigured } from '../kafka/client.ts';
import type { S3Access } from '../shared/s3-client.ts';
import { type Check, check, reasonOf } from './check.ts';

const WAIT_MS = 5000;

interface Service {
  name: string;
  /** Host and port, or the like, for the reader; never a password. */
  at: string;
  /** Which setting names it. */
  setting: string;
  /** Asks it for its version; resolves with what it says of itself. */
  ask(): Promise<string>;
}

/** Every service that the configuration names, asked with the configuration's own credentials. */
export function checkServices(config: Config): Promise<Check[]> {
  return Promise.all([...redisServices(config), ...others(config)].map(checkService));
}

async function checkService({ name, at, setting, ask }: Service): Promise<Check> {
  try {
    return check('services', name, 'ok', `${at}: ${await within(ask())}`);
  } catch (error) {
    const remedy = `start it, or correct ${setting}: address, credentials, certificates and firewall on the way`;
    return check('services', name, 'failed', `${at}: ${reasonOf(error)}`, remedy);
  }
}

async function within<T>(asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${WAIT_MS / 1000} s`)), WAIT_MS);
  });
  return Promise.race([asked, late]).finally(() => clearTimeout(timer));
}

function redisServices({ admission, cache, routes, features }: Config): Service[] {
  const named: [string, string | undefined][] = [
    ['admission.redisUrl', admission.redisUrl],
    ['cache.redisUrl', cache.redisUrl],
    ['routes.redisUrl', routes.redisUrl],
    ['features.redisUrl', features.redisUrl],
  ];
  const settings = new Map<string, string[]>();
  for (const [setting, url] of named) if (url !== undefined) settings.set(url, [...(settings.get(url) ?? []), setting]);
  return [...settings].map(([url, users]) => ({
    name: 'Redis',
    at: hostOf(url),
    setting: users.join(', '),
    ask: () => askRedis(url),
  }));
}

async function askRedis(url: string): Promise<string> {
  const { Redis } = await import('ioredis');
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: WAIT_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let failure: unknown;
  client.on('error', (error) => {
    failure = error;
  });
  try {
    await client.connect();
    const info = await client.info('server');
    return `version ${/redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown'}`;
  } catch (error) {
    throw failure ?? error;
  } finally {
    client.disconnect();
  }
}

function others({ kafka, eventLog, registry: { database, artifacts } }: Config): Service[] {
  const services: Service[] = [];
  if (kafkaConfigured(kafka))
    services.push({ name: 'Kafka', at: kafka.brokers.join(', '), setting: 'kafka', ask: () => askKafka(kafka) });
  if (database !== 'sqlite') {
    const setting = 'registry.database';
    services.push({ name: 'PostgreSQL', at: hostOf(database), setting, ask: () => askPostgres(database) });
  }
  const buckets: [string, (S3Access & { bucket: string }) | undefined][] = [['registry.artifacts.s3', artifacts.s3]];
  if (eventLog.enabled) {
    buckets.push(['eventLog.payloads.s3', eventLog.payloads.s3]);
    for (const sink of eventLog.sinks)
      if (sink.kind === 'files') buckets.push([`eventLog.sinks ${sink.name}, s3`, sink.s3]);
  }
  for (const [setting, s3] of buckets) {
    if (s3 === undefined) continue;
    const at = `bucket ${s3.bucket} at ${s3.endpoint === undefined ? `AWS ${s3.region}` : hostOf(s3.endpoint)}`;
    services.push({ name: 'S3', at, setting, ask: () => askS3(s3) });
  }
  return services;
}

async function askKafka(config: KafkaConfig): Promise<string> {
  const clients = await kafkaClients(config, pino({ level: 'silent' }));
  const admin = clients.admin();
  try {
    await admin.connect();
    const { brokers } = await admin.describeCluster();
    return `${brokers.length} broker${brokers.length === 1 ? '' : 's'}`;
  } finally {
    await admin.disconnect().catch(() => {});
  }
}

async function askPostgres(url: string): Promise<string> {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: WAIT_MS });
  // Of a connection that breaks while nobody waits for it.
  client.on('error', () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
    return `version ${rows[0].server_version}`;
  } finally {
    await client.end().catch(() => {});
  }
}

async function askS3(options: S3Access & { bucket: string }): Promise<string> {
  const [{ HeadBucketCommand }, { s3Client }] = await Promise.all([
    import('@aws-sdk/client-s3'),
    import('../shared/s3-client.ts'),
  ]);
  const client = s3Client(options, { maxAttempts: 1 });
  try {
    await client.send(new HeadBucketCommand({ Bucket: options.bucket }));
    return 'it may be read';
  } finally {
    client.destroy();
  }
}

/** Host and port of a URL, without the password that it may hold. */
export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'an address that cannot be read';
}
