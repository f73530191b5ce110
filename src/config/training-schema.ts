import { z } from 'zod';

const count = z.number().int().positive();
const name = z.string().regex(/^[\w.-]{1,128}$/, 'allowed: 1 to 128 letters, digits, "_", "." and "-"');

const kubernetesName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'a name of Kubernetes: lower-case letters, digits, "." and "-"');

const secret = z
  .strictObject({
    env: z.string().min(1).optional().describe("A variable of the server's environment"),
    file: z.string().min(1).optional().describe('A file; a line break at its end is left out'),
  })
  .refine(({ env, file }) => (env === undefined) !== (file === undefined), 'give env or file');

/** `training`: what jobs may use of this machine, and how they are kept. */
export const trainingSchema = z
  .strictObject({
    maxRunning: count.default(50).describe('Jobs at a time, of all runners'),
    keepHours: z
      .number()
      .positive()
      .default(168)
      .describe('Folders of ended jobs; their logs and outputs stay in the run'),
    leaseSeconds: z
      .number()
      .positive()
      .max(3600)
      .default(10)
      .describe('Of several servers on one database, the one that starts jobs loses its place after it'),
    lostAfterSeconds: z
      .number()
      .positive()
      .default(300)
      .describe('A job whose server has not been heard of for so long is lost, and retried as it says'),
    trackingUri: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('Where jobs reach the registry; absent: the admin port on this machine'),
    pythons: z
      .record(name, z.string().min(1))
      .default({ default: 'python3' })
      .describe('Interpreters that spec.environment.python may name'),
    sourceDirs: z.array(z.string().min(1)).default([]).describe('Folders in which spec.sourceDir may lie'),
    secrets: z.record(name, secret).default({}).describe('What spec.secretRefs may name'),
    environments: z
      .strictObject({
        installer: z.enum(['auto', 'pip', 'uv']).default('auto').describe('auto: uv where it is installed'),
        arguments: z.array(z.string()).default([]).describe('Options of every installation, such as an index'),
        timeoutSeconds: z.number().positive().default(1800),
        keepDays: z.number().positive().default(30).describe('After the last job that used it'),
      })
      .prefault({}),
    process: z
      .strictObject({
        cpu: z.number().positive().optional().describe('Cores that jobs may ask for together; absent: all'),
        memoryBytes: count.optional().describe('Memory that jobs may ask for together; absent: four fifths of it all'),
        gpus: z.number().int().min(0).default(0).describe('GPUs, numbered from 0'),
        diskBytes: count.default(10 * 1024 ** 3).describe('Of one work folder'),
        minFreeBytes: z
          .number()
          .int()
          .min(0)
          .default(1024 ** 3)
          .describe('A job ends when its disk has less left'),
        logBytes: count.default(64 * 1024 ** 2).describe('Of one log; the middle of a longer one is left out'),
        nice: z.number().int().min(0).max(19).default(5),
        passEnvironment: z
          .array(z.string().regex(/^[A-Za-z_]\w*$/, 'a name of a variable'))
          .default([])
          .describe("Variables of the server's environment that jobs get too"),
      })
      .prefault({}),
    kubernetes: z
      .strictObject({
        kubeconfig: z.string().min(1).optional().describe("Absent: the pod's own service account, or ~/.kube/config"),
        context: z.string().min(1).optional().describe('Of the kubeconfig; absent: its current one'),
        namespace: kubernetesName.default('default'),
        images: z
          .array(z.string().min(1))
          .default([])
          .describe('What spec.image may name; one that ends with "*" allows what begins so'),
        serviceAccount: kubernetesName.default('default').describe('Of the pods; they get no token of it'),
        ttlSeconds: count.default(86_400).describe('How long the cluster keeps an ended Job that nobody removes'),
        pullSeconds: z.number().min(0).default(120).describe('How long an image may fail to be pulled'),
        checkpointClaim: kubernetesName.optional().describe('A volume claim for checkpoints, a folder per job'),
        trainRuntime: kubernetesName.default('torch-distributed').describe('ClusterTrainingRuntime of TrainJobs'),
      })
      .optional()
      .describe('Turns on the runners kubernetes and trainjob'),
    ray: z
      .strictObject({
        address: z.url({ protocol: /^https?$/ }).describe('Of the dashboard, such as http://127.0.0.1:8265'),
        checkpointDir: z
          .string()
          .regex(/^\/[^\0-\x1f\x7f]*$/, 'an absolute path')
          .optional()
          .describe('A folder that all nodes share, for checkpoints'),
        token: secret.optional().describe('Of a cluster with RAY_AUTH_MODE=token'),
      })
      .optional()
      .describe('Turns on the runner ray'),
  })
  .prefault({});

export type TrainingConfig = z.infer<typeof trainingSchema>;
