import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { PACKAGE_FOLDER } from '../shared/program-files.ts';
import { addBench } from './bench.ts';
import { addDatasets } from './datasets.ts';
import { addDoctor } from './doctor.ts';
import { addEvaluations } from './evaluations.ts';
import { explain } from './failure.ts';
import { addFeatures } from './features.ts';
import { addInfer } from './infer.ts';
import { EXIT, EXIT_HELP, type Output } from './io.ts';
import { addJobs } from './jobs.ts';
import { addLog } from './log.ts';
import { addModels } from './models.ts';
import { addMonitors } from './monitors.ts';
import { addOpe } from './ope.ts';
import { addPipelines } from './pipelines.ts';
import { addRegistry } from './registry.ts';
import { addRegistryFiles } from './registry-files.ts';
import { addRoutes } from './routes.ts';
import { addSchemas } from './schemas.ts';
import { addServe, type Serve } from './serve.ts';
import { addSweeps } from './sweeps.ts';
import { addTriggers } from './triggers.ts';
import { addValidate } from './validate.ts';

function packageVersion(): string {
  return (JSON.parse(readFileSync(join(PACKAGE_FOLDER, 'package.json'), 'utf8')) as { version: string }).version;
}

/**
 * Runs one command line (without the program's own name) and resolves with the exit code; failures are one line on
 * `output.err`. What a verb needs beyond its flags is imported when it runs: `serve` must start fast.
 */
export async function run(args: readonly string[], output: Output, serve: Serve): Promise<number> {
  const program = new Command('switchyard')
    .description('A high-throughput model-serving gateway')
    .version(packageVersion())
    .addHelpText('after', EXIT_HELP)
    // "--version 2" behind a verb is the verb's own.
    .enablePositionalOptions()
    .showHelpAfterError('(see --help)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.out(text.replace(/\n$/, '')),
      writeErr: (text) => output.err(text.replace(/\n$/, '')),
    });
  let code: number = EXIT.ok;
  addServe(program, async (...settings) => {
    code = await serve(...settings);
    return code;
  });
  addValidate(program, output);
  addDoctor(program, output, (exit) => {
    code = exit;
  });
  addModels(program, output);
  addRegistry(program, output);
  addRegistryFiles(program, output);
  addRoutes(program, output, (exit) => {
    code = exit;
  });
  addOpe(program, output, (exit) => {
    code = exit;
  });
  addJobs(program, output, (exit) => {
    code = exit;
  });
  addLog(program, output);
  addPipelines(program, output, (exit) => {
    code = exit;
  });
  addTriggers(program, output);
  addEvaluations(program, output);
  addMonitors(program, output);
  addSweeps(program, output, (exit) => {
    code = exit;
  });
  addFeatures(program, output);
  addDatasets(program, output, (exit) => {
    code = exit;
  });
  addSchemas(program, output);
  addInfer(program, output);
  addBench(program, output);
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    const { message, exitCode } = explain(error);
    if (message !== '') output.err(message);
    return exitCode;
  }
  return code;
}
