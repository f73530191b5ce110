import { resolve } from 'node:path';
import type { Config } from '../config/schema.ts';

/** Makes every path that the configuration names absolute, in place: they are relative to the folder of its file. */
export function resolvePaths(config: Config, baseDir: string): void {
  resolveServer(config, baseDir);
  resolveKeys(config, baseDir);
  resolveTraining(config, baseDir);
  config.datasets.folders = config.datasets.folders.map((folder) => resolve(baseDir, folder));
}

function resolveServer({ server: { tls } }: Config, baseDir: string): void {
  if (tls === undefined) return;
  tls.certFile = resolve(baseDir, tls.certFile);
  tls.keyFile = resolve(baseDir, tls.keyFile);
  if (tls.caFile !== undefined) tls.caFile = resolve(baseDir, tls.caFile);
}

/** Keys of the registry and of Kafka's clients. */
function resolveKeys({ models, registry, kafka }: Config, baseDir: string): void {
  models.registry.trustedKeys = models.registry.trustedKeys.map((file) => resolve(baseDir, file));
  if (registry.signingKey !== undefined) registry.signingKey = resolve(baseDir, registry.signingKey);
  for (const ssl of [models.registry.ssl, kafka.ssl])
    for (const file of ['caFile', 'certFile', 'keyFile'] as const)
      if (ssl?.[file] !== undefined) ssl[file] = resolve(baseDir, ssl[file]);
}

/** What jobs may use. */
function resolveTraining({ training }: Config, baseDir: string): void {
  training.sourceDirs = training.sourceDirs.map((folder) => resolve(baseDir, folder));
  const { kubernetes, ray } = training;
  if (kubernetes?.kubeconfig !== undefined) kubernetes.kubeconfig = resolve(baseDir, kubernetes.kubeconfig);
  for (const secret of [...Object.values(training.secrets), ray?.token ?? {}])
    if (secret.file !== undefined) secret.file = resolve(baseDir, secret.file);
  for (const [name, program] of Object.entries(training.pythons))
    if (program.includes('/')) training.pythons[name] = resolve(baseDir, program);
}
