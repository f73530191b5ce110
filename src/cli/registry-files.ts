import { type Command, Option } from 'commander';
import type { RegistryFiles } from '../client/registry-files.ts';
import type { Output } from './io.ts';
import { type AdminFlags, positiveInteger, withAdmin } from './options.ts';

/** Verbs around the registry's files: garbage collection, and versions on their way to other registries. */
export function addRegistryFiles(program: Command, output: Output): void {
  const registry =
    program.commands.find((command) => command.name() === 'registry') ??
    program.command('registry').description('look after the registry of a running server');
  withAdmin(registry.command('gc').description('remove for good what was deleted, and blobs that nothing names'))
    .option('--dry-run', 'only count')
    .addOption(
      new Option('--grace <seconds>', "touch nothing younger (default: the server's setting)").argParser(
        positiveInteger,
      ),
    )
    .action((flags: AdminFlags & { dryRun?: boolean; grace?: number }) => collect(flags, output));
  withAdmin(registry.command('upload').description('store a file as an artifact; goes on after a broken connection'))
    .argument('<file>')
    .argument('<path>', 'such as <experiment>/<run>/artifacts/model.onnx')
    .action((file: string, path: string, flags: AdminFlags) => uploadOne(file, path, flags, output));
  withAdmin(registry.command('export').description('write a model version as an OCI image layout (CNCF ModelPack)'))
    .argument('<model>')
    .argument('<version>')
    .requiredOption('--to <path>', 'a new folder, or a new file that ends in .tar')
    .action((model: string, version: string, flags: AdminFlags & { to: string }) =>
      exportOne(model, version, flags, output),
    );
  withAdmin(registry.command('import').description('register an OCI image layout as the next version of a model'))
    .argument('<path>', 'a folder, or an uncompressed .tar')
    .option('--name <model>', 'name of the model (default: as the package says)')
    .addOption(
      new Option('--max-bytes <n>', 'refuse larger packages').argParser(positiveInteger).default(64 * 1024 ** 3),
    )
    .action((path: string, flags: AdminFlags & { name?: string; maxBytes: number }) => importOne(path, flags, output));
}

async function connect(flags: AdminFlags): Promise<RegistryFiles> {
  const { RegistryFiles } = await import('../client/registry-files.ts');
  // A collection of a large bucket takes its time.
  return new RegistryFiles({ url: flags.admin, token: flags.token, timeoutMs: 600_000 });
}

async function collect(flags: AdminFlags & { dryRun?: boolean; grace?: number }, output: Output): Promise<void> {
  const done = await (await connect(flags)).collect(flags.dryRun ?? false, flags.grace);
  if (flags.output === 'json') {
    output.out(JSON.stringify(done, undefined, 2));
    return;
  }
  const verb = done.dry_run ? 'would remove' : 'removed';
  output.out(
    `${verb} ${done.runs} runs, ${done.logged_models} logged models, ${done.experiments} experiments, ${done.artifacts} artifacts, ${done.blobs} blobs (${done.bytes} bytes), ${done.uploads} uploads, ${done.staged} left-overs`,
  );
}

async function uploadOne(file: string, path: string, flags: AdminFlags, output: Output): Promise<void> {
  const { uploadFile } = await import('../exchange/upload-file.ts');
  const done = await uploadFile(await connect(flags), file, path);
  if (flags.output === 'json') output.out(JSON.stringify(done, undefined, 2));
  else output.out(`${done.path}: ${done.bytes} bytes, ${done.digest}`);
}

async function exportOne(
  model: string,
  version: string,
  flags: AdminFlags & { to: string },
  output: Output,
): Promise<void> {
  const { exportVersion } = await import('../exchange/export-version.ts');
  const done = await exportVersion(await connect(flags), model, version, flags.to);
  if (flags.output === 'json') output.out(JSON.stringify({ ...done, path: flags.to }, undefined, 2));
  else output.out(`${flags.to}: ${done.files} files, ${done.bytes} bytes, manifest ${done.digest}`);
}

async function importOne(
  path: string,
  flags: AdminFlags & { name?: string; maxBytes: number },
  output: Output,
): Promise<void> {
  const { importVersion } = await import('../exchange/import-version.ts');
  const done = await importVersion(await connect(flags), path, { name: flags.name, maxBytes: flags.maxBytes });
  if (flags.output === 'json') output.out(JSON.stringify(done, undefined, 2));
  else output.out(`${done.name} version ${done.version}: ${done.files} files, ${done.bytes} bytes`);
}
