import { resolve } from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';

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

/** Flags and SWITCHYARD_* variables as settings; what is absent stays out, so that the file's value holds. */
export function serveOverrides(flags: ServeFlags): Record<string, unknown> {
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

function port(value: string): number {
  const parsed = Number(value);
  if (!/^\d+$/.test(value) || parsed > 65535) throw new InvalidArgumentError('a port is a number from 0 to 65535');
  return parsed;
}

/** Collects a repeatable flag; the environment's value is a colon-separated list. */
function list(value: string, previous: string[] = []): string[] {
  return [...previous, ...value.split(':').filter((part) => part !== '')];
}

export function addServe(program: Command): void {
  program
    .command('serve')
    .description('serve models over HTTP and gRPC')
    .addOption(new Option('--config <file>', 'switchyard.yaml').env('SWITCHYARD_CONFIG'))
    .addOption(
      new Option('--model-repository <dir>', 'folder of models, repeatable')
        .env('SWITCHYARD_MODEL_REPOSITORY')
        .argParser(list),
    )
    .addOption(new Option('--host <address>', 'address of the HTTP, gRPC and metrics ports').env('SWITCHYARD_HOST'))
    .addOption(new Option('--http-port <port>').env('SWITCHYARD_HTTP_PORT').argParser(port))
    .addOption(new Option('--grpc-port <port>').env('SWITCHYARD_GRPC_PORT').argParser(port))
    .addOption(new Option('--metrics-port <port>').env('SWITCHYARD_METRICS_PORT').argParser(port))
    .addOption(new Option('--admin-port <port>').env('SWITCHYARD_ADMIN_PORT').argParser(port))
    .addOption(new Option('--data-dir <dir>', 'verdicts, quarantine and uploaded models').env('SWITCHYARD_DATA_DIR'))
    .addOption(
      new Option('--model-control-mode <mode>')
        .env('SWITCHYARD_MODEL_CONTROL_MODE')
        .choices(['none', 'poll', 'explicit']),
    )
    .addOption(
      new Option('--load-model <name>', 'model to load at start in explicit mode, repeatable')
        .env('SWITCHYARD_LOAD_MODEL')
        .argParser(list),
    )
    .addOption(new Option('--log-level <level>').env('SWITCHYARD_LOG_LEVEL'))
    .option('--no-supervise', 'do not restart the gateway process after a crash')
    .action(async (flags: ServeFlags) => {
      const options = { configFile: flags.config, overrides: serveOverrides(flags) };
      const { supervise } = await import('./supervisor.ts');
      process.exitCode = await supervise([JSON.stringify(options)], resolve(flags.dataDir ?? 'data'), flags.supervise);
    });
}
