import { z } from 'zod';
import { USABLE_CORES } from '../shared/usable-cores.ts';
import { adminBindingProblem } from './admin-binding.ts';
import { admissionSchema } from './admission-schema.ts';
import { artifactsSchema } from './artifacts-schema.ts';
import { datasetsSchema } from './datasets-schema.ts';
import { eventLogSchema } from './event-log-schema.ts';
import { featuresSchema } from './features-schema.ts';
import { gatewayTokenProblems, gatewayTokensSchema } from './gateway-token-schema.ts';
import { hostsSchema } from './hosts-schema.ts';
import { kafkaSchema } from './kafka-schema.ts';
import { monitoringSchema } from './monitoring-schema.ts';
import { pullSchema } from './pull-schema.ts';
import { trainingSchema } from './training-schema.ts';

const port = z.number().int().min(0).max(65535);
const positive = z.number().positive();
const count = z.number().int().positive();

const tls = z.strictObject({
  certFile: z.string().describe('PEM certificate chain'),
  keyFile: z.string().describe('PEM private key'),
  caFile: z.string().optional().describe('PEM authorities for client certificates'),
  requireClientCertificate: z.boolean().default(false),
});

const remote = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][\w.-]{0,63}$/, 'allowed: 1 to 64 letters, digits, "_", "." and "-"')
    .describe('Names its generated repository'),
  url: z
    .string()
    .regex(
      /^(grpcs?:\/\/)?[\w.:[\]-]+:\d{1,5}(\s*,\s*(grpcs?:\/\/)?[\w.:[\]-]+:\d{1,5})*$/,
      'allowed: host:port, grpc://host:port or grpcs://host:port of each replica, comma-separated',
    )
    .describe('gRPC address of each replica, comma-separated'),
  backend: z.enum(['triton', 'kserve']).default('triton'),
  refreshSeconds: positive.max(86_400).default(10).describe('How often the models are looked up again'),
});

const quarter = Math.max(1, Math.floor(USABLE_CORES / 4));

const settings = z.strictObject({
  server: z
    .strictObject({
      name: z
        .enum(['switchyard', 'triton'])
        .default('switchyard')
        .describe("'triton' answers as NVIDIA's examples assert"),
      host: z.string().default('127.0.0.1').describe('Address of the HTTP, gRPC and metrics ports'),
      httpPort: port.default(8000),
      grpcPort: port.default(8001),
      metricsPort: port.default(8002),
      adminHost: z.string().default('127.0.0.1'),
      adminPort: port.default(8080),
      adminToken: z.string().optional().describe('Bearer token of the admin port; needed to bind it beyond loopback'),
      gatewayTokens: gatewayTokensSchema.describe(
        'Tokens that open to a gateway what it needs of the registry, and nothing else; taken without a restart',
      ),
      tls: tls.optional().describe('For the HTTP, gRPC, metrics and admin ports'),
      maxBodyBytes: count.default(256 * 1024 * 1024),
      maxConnectionsPerAddress: count.default(4096),
      serverTiming: z.boolean().default(true).describe('Server-Timing header on answers'),
      overloadStatus: z
        .union([z.literal(429), z.literal(503)])
        .default(429)
        .describe('HTTP status of refused load; Triton answers 503'),
      streamForm: z
        .enum(['triton', 'bare'])
        .default('triton')
        .describe("Messages of ModelStreamInfer: Triton's, or bare responses as MLServer sends"),
      drainSeconds: positive.default(30),
      supervise: z.boolean().default(true).describe('Restart the gateway process after a crash'),
    })
    .prefault({}),
  threads: z
    .strictObject({
      gateways: count.default(quarter),
      executors: count.default(Math.max(1, USABLE_CORES - quarter)),
      affinity: z
        .enum(['none', 'executors'])
        .default('none')
        .describe(
          "'executors': each has a core of its own, and all other threads share the rest; Linux, with the addon",
        ),
    })
    .prefault({}),
  limits: z
    .strictObject({
      maxOutstanding: count.default(4096).describe('Unanswered requests per executor before shedding'),
      defaultTimeoutMs: z.number().min(0).default(0).describe('Deadline of requests that bring none; 0 = none'),
    })
    .prefault({}),
  models: z
    .strictObject({
      repositories: z.array(z.string()).default([]),
      source: z
        .enum(['repositories', 'registry'])
        .default('repositories')
        .describe("'registry': besides the repositories, what the registry's aliases point to"),
      registry: pullSchema,
      mode: z.enum(['none', 'poll', 'explicit']).default('poll'),
      pollSeconds: positive.default(2),
      load: z.array(z.string()).default([]).describe("Models to load at start in explicit mode; '*' = all"),
      memoryBudgetBytes: z
        .number()
        .int()
        .min(0)
        .default(0)
        .describe('Loaded models beyond it are evicted, least recently used first; 0 = no limit'),
      preflightTimeoutMs: positive.default(60_000),
      onnxRuntime: z
        .enum(['node', 'native', 'auto'])
        .default('auto')
        .describe(
          "ONNX models: 'native': the addon, weights once, GPU slots; 'node': onnxruntime-node; 'auto': native if it can",
        ),
      onnxThreads: z
        .number()
        .int()
        .min(1)
        .max(256)
        .default(1)
        .describe('With the addon: threads of one run, its executor counted in, that all ONNX models share; 1 = none'),
      cuda: z
        .strictObject({
          providerLibrary: z
            .string()
            .min(1)
            .optional()
            .describe('With the addon: the CUDA provider, or a folder that holds it; default: beside onnxruntime-node'),
        })
        .prefault({}),
      remoteHosts: z
        .array(z.string())
        .default([])
        .describe(
          'Hosts ("host" or "host:port"), besides loopback, that configurations sent with load requests may name',
        ),
      remotes: z
        .array(remote)
        .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, 'two remotes have the same name')
        .default([])
        .describe('v2 gRPC servers whose every model is served as ours'),
      defaultInstances: count
        .optional()
        .describe('Executors per model without instance_group; default: all, at most 4'),
    })
    .prefault({}),
  registry: z
    .strictObject({
      database: z
        .string()
        .regex(/^(sqlite|postgres(ql)?:\/\/\S+)$/, "allowed: 'sqlite', or postgres://user:password@host:port/database")
        .default('sqlite')
        .describe("'sqlite' keeps a file in dataDir; a postgres:// URL is for several nodes"),
      signingKey: z
        .string()
        .optional()
        .describe('PEM file of an Ed25519 private key that signs the manifests of versions'),
      approvals: z
        .strictObject({
          aliases: z.array(z.string()).default([]).describe('Aliases that only approved versions may have'),
        })
        .prefault({}),
      webhooks: hostsSchema('webhooks'),
      artifacts: artifactsSchema,
    })
    .prefault({}),
  routes: z
    .strictObject({
      files: z
        .array(z.string().min(1))
        .default([])
        .describe('Route files: paths, folders (their *.yaml and *.yml), or patterns with * in the last part'),
      redisUrl: z.string().optional().describe('Shares experiments and rollouts among several gateways'),
      leaseSeconds: positive.max(3600).default(10).describe('The leader of several gateways loses its place after it'),
      staleSeconds: positive
        .max(86_400)
        .default(120)
        .describe(
          'Of several gateways, one that has heard of no leader for so long serves canaries by stable; at least two leases',
        ),
    })
    .prefault({}),
  kafka: kafkaSchema,
  features: featuresSchema,
  training: trainingSchema,
  pipelines: z
    .strictObject({
      files: z
        .array(z.string().min(1))
        .default([])
        .describe('Pipeline files: paths, folders (their *.yaml and *.yml), or patterns with * in the last part'),
      environment: z
        .string()
        .regex(/^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/, 'allowed: 1 to 63 letters, digits, "_", "." and "-"')
        .default('development')
        .describe('In which pipelines run unless another one is named'),
    })
    .prefault({}),
  admission: admissionSchema,
  cache: z
    .strictObject({
      memoryBytes: z
        .number()
        .int()
        .min(0)
        .default(64 * 1024 * 1024)
        .describe('Per gateway thread'),
      ttlSeconds: positive.default(300),
      redisUrl: z.string().optional(),
    })
    .prefault({}),
  telemetry: z
    .strictObject({
      logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
      tracing: z
        .strictObject({
          endpoint: z.string().optional().describe('OTLP/HTTP collector; absent = no tracing'),
          sampleRatio: z.number().min(0).max(1).default(0.01),
        })
        .prefault({}),
    })
    .prefault({}),
  eventLog: eventLogSchema,
  datasets: datasetsSchema,
  monitoring: monitoringSchema,
  dataDir: z.string().default('data'),
});

/** switchyard.yaml. Published as config/schema.json; every field has a default, so that an empty file is valid. */
export const configSchema = settings.superRefine(({ server, eventLog, kafka, monitoring }, context) => {
  const problem = adminBindingProblem(server);
  if (problem !== undefined)
    context.addIssue({ code: 'custom', path: ['server', problem.field], message: problem.message });
  for (const { path, message } of gatewayTokenProblems(server))
    context.addIssue({ code: 'custom', path: ['server', 'gatewayTokens', ...path], message });
  eventLog.sinks.forEach(({ kind }, i) => {
    if (kind !== 'kafka' || kafka.brokers.length > 0) return;
    const message = 'a kafka sink needs brokers; name them in kafka.brokers';
    context.addIssue({ code: 'custom', path: ['eventLog', 'sinks', i, 'kind'], message });
  });
  const topics = eventLog.sinks.filter((sink) => sink.kind === 'kafka');
  if (monitoring.source === 'kafka' && topics.length > 0 && topics.every(({ format }) => format === 'sagemaker')) {
    const message =
      "monitors cannot read 'sagemaker' lines; give the kafka sink the format json or avro, or add one that has it";
    context.addIssue({ code: 'custom', path: ['monitoring', 'source'], message });
  }
});

export type Config = z.infer<typeof configSchema>;
