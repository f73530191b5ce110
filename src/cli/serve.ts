import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { list, port } from './options.ts';
import type { SupervisorSettings } from './supervisor-settings.ts';

interface ServeFlags {
  config?: string;
  modelRepository?: string[];
  host?: string;
  httpPort?: number;
  grpcPort?: number;
  metricsPort?: number;
  adminPort?: number;
  dataDir?: string;
  modelControlMode?: string;
  loadModel?: string[];
  logLevel?: string;
  supervise: boolean;
}

/** Serves until told to stop and resolves with the exit code. `settings` is asked after a crash. */
export type Serve = (
  options: { configFile: string | undefined; overrides: Record<string, unknown> },
  settings: () => Promise<SupervisorSettings>,
) => Promise<number>;

/** Flags and SWITCHYARD_* variables as settings; what is absent stays out, so that the file's value holds. */
export function serveOverrides(flags: Omit<ServeFlags, 'supervise' | 'config'>): Record<string, unknown> {
  return {
    server: {
      host: flags.host,
      httpPort: flags.httpPort,
      grpcPort: flags.grpcPort,
      metricsPort: flags.metricsPort,
      adminPort: flags.adminPort,
    },
    models: {
      // In the file they are relative to the file, here to where the command runs.
      repositories: flags.modelRepository?.map((path) => resolve(path)),
      mode: flags.modelControlMode,
      load: flags.loadModel,
    },
    telemetry: { logLevel: flags.logLevel },
    dataDir: flags.dataDir === undefined ? undefined : resolve(flags.dataDir),
  };
}

const HELP = `
Without --config and --model-repository it starts with no model. A repository holds <model>/<version>/model.onnx and,
where wanted, <model>/config.pbtxt. The gateway process is restarted when it crashes; three crashes within a minute
set the newest model version aside. SIGTERM and SIGINT drain: requests in flight are answered first.`;

export function addServe(program: Command, serve: Serve): void {
  program
    .command('serve')
    .description('serve models over HTTP and gRPC')
    .addOption(
      new Option('--config <file>', 'switchyard.yaml; config/schema.json describes it').env('SWITCHYARD_CONFIG'),
    )
    .addOption(
      new Option('--model-repository <dir>', 'folder of models, repeatable')
        .env('SWITCHYARD_MODEL_REPOSITORY')
        .argParser(list),
    )
    .addOption(
      new Option('--host <address>', 'address of the HTTP, gRPC and metrics ports (default: 127.0.0.1)').env(
        'SWITCHYARD_HOST',
      ),
    )
    .addOption(
      new Option('--http-port <port>', 'v2 and TensorFlow Serving REST (default: 8000)')
        .env('SWITCHYARD_HTTP_PORT')
        .argParser(port),
    )
    .addOption(
      new Option('--grpc-port <port>', 'v2 and TensorFlow Serving gRPC (default: 8001)')
        .env('SWITCHYARD_GRPC_PORT')
        .argParser(port),
    )
    .addOption(
      new Option('--metrics-port <port>', 'Prometheus (default: 8002)').env('SWITCHYARD_METRICS_PORT').argParser(port),
    )
    .addOption(
      new Option('--admin-port <port>', 'admin API, loopback only unless configured (default: 8080)')
        .env('SWITCHYARD_ADMIN_PORT')
        .argParser(port),
    )
    .addOption(
      new Option('--data-dir <dir>', 'verdicts, quarantine and uploaded models (default: data)').env(
        'SWITCHYARD_DATA_DIR',
      ),
    )
    .addOption(
      new Option('--model-control-mode <mode>', 'none: load once; poll: follow the folders; explicit: on request')
        .env('SWITCHYARD_MODEL_CONTROL_MODE')
        .choices(['none', 'poll', 'explicit']),
    )
    .addOption(
      new Option('--load-model <name>', "model to load at start in explicit mode, repeatable; '*': all")
        .env('SWITCHYARD_LOAD_MODEL')
        .argParser(list),
    )
    .addOption(
      new Option('--log-level <level>', 'least level that is logged (default: info)')
        .env('SWITCHYARD_LOG_LEVEL')
        .choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    )
    .option('--no-supervise', 'do not restart the gateway process after a crash')
    .addHelpText('after', HELP)
    .action(async (flags: ServeFlags) => {
      await serve({ configFile: flags.config, overrides: serveOverrides(flags) }, async () => {
        const { readSupervisorSettings } = await import('./supervisor-settings.ts');
        return readSupervisorSettings(flags);
      });
    });
}
