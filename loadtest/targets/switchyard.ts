import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeOnnxRepository } from '../mlp-model.ts';
import { v2Binary, v2Json, v2Output } from '../payloads.ts';
import type { Target } from './target.ts';
import { TLS_FILES } from './tls.ts';

export interface SwitchyardOptions {
  /** Distinguishes several of them in one scenario. */
  name?: string;
  /** Model names written to the repository; the workload's own by default. */
  models?: readonly string[];
  /** Model the request template names. */
  model?: string;
  /** Extra lines of config.pbtxt. */
  extraConfig?: string;
  /** More of the configuration file. */
  config?: Record<string, object>;
  /** Where the models run: the CPU, unless it says otherwise. */
  device?: 'cpu' | 'gpu';
  /** Route files, and headers of every request for them. */
  routes?: readonly { file: string; text: string }[];
  headers?: Record<string, string>;
  /** More arguments of `serve`. */
  args?: readonly string[];
  env?: Record<string, string>;
  /** All ports with TLS. */
  tls?: boolean;
}

const ROOT = join(import.meta.dirname, '..', '..');

/** This checkout's own build: `npm run build` first. */
export function switchyard(options: SwitchyardOptions = {}): Target {
  const name = options.name ?? 'switchyard';
  const sections = Object.entries(options.config ?? {}).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
  if (options.routes !== undefined) sections.push('routes: {files: [routes]}\n');
  if (options.tls) {
    const { cert, key } = TLS_FILES;
    sections.push(`server: ${JSON.stringify({ tls: { certFile: cert, keyFile: key } })}\n`);
  }
  return {
    name,
    role: 'subject',
    wires: ['json', 'binary', 'grpc'],
    idle: 'run',
    computes: true,
    readyPath: '/v2/health/ready',
    tls: options.tls,
    async prepare(workload) {
      writeOnnxRepository(join(workload.scratch, name, 'models'), workload.mlp, {
        maxBatchSize: workload.maxBatchSize,
        names: options.models ?? [workload.model],
        device: options.device,
        extra: options.extraConfig,
      });
      mkdirSync(join(workload.scratch, name, 'data'), { recursive: true });
      if (sections.length > 0) writeFileSync(join(workload.scratch, name, 'switchyard.yaml'), sections.join(''));
      if (options.routes === undefined) return;
      mkdirSync(join(workload.scratch, name, 'routes'));
      for (const { file, text } of options.routes) writeFileSync(join(workload.scratch, name, 'routes', file), text);
    },
    launch: (workload, ports) => ({
      command: process.execPath,
      args: [
        join(ROOT, 'dist', 'cli', 'main.js'),
        'serve',
        '--model-repository',
        join(workload.scratch, name, 'models'),
        '--data-dir',
        join(workload.scratch, name, 'data'),
        '--http-port',
        String(ports.http),
        '--grpc-port',
        String(ports.grpc),
        '--metrics-port',
        String(ports.metrics),
        '--admin-port',
        String(ports.admin),
        ...(sections.length === 0 ? [] : ['--config', join(workload.scratch, name, 'switchyard.yaml')]),
        ...(options.args ?? []),
      ],
      cwd: join(workload.scratch, name),
      env: options.env,
    }),
    request: (wire, workload) => {
      const model = options.model ?? workload.model;
      const request = wire === 'json' ? v2Json(model, workload.row) : v2Binary(model, workload.row);
      return { ...request, headers: { ...request.headers, ...options.headers } };
    },
    output: v2Output,
  };
}

/** With all that a request can pass through: checks, a route with a sticky split, metrics and its decision on record. */
export function everythingOn(model: string): Target {
  const text = `apiVersion: switchyard/v1
kind: Route
metadata: {name: split}
spec:
  match: [{model: ${model}}]
  unit: {from: [{header: x-user-id}]}
  variants: {stable: {model: ${model}, version: "1"}, next: {model: ${model}, version: "1"}}
  strategy: {weighted: {stable: 90, next: 10}}
`;
  const headers = { 'x-user-id': 'user-2654435761' };
  const config = { eventLog: { enabled: true, sinks: [{ name: 'lines', kind: 'files' }] } };
  return switchyard({ name: EVERYTHING_ON, config, routes: [{ file: 'split.yaml', text }], headers });
}

export const EVERYTHING_ON = 'switchyard-everything-on';
