import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { CliError, type Output } from './io.ts';
import { list } from './options.ts';

interface ValidateFlags {
  config?: string;
  modelRepository?: string[];
}

export function addValidate(program: Command, output: Output): void {
  program
    .command('validate')
    .description('check switchyard.yaml and the configuration of every model, and print every problem')
    .addOption(new Option('--config <file>', 'switchyard.yaml').env('SWITCHYARD_CONFIG'))
    .addOption(
      new Option('--model-repository <dir>', 'folder of models, repeatable; default: those of the file')
        .env('SWITCHYARD_MODEL_REPOSITORY')
        .argParser(list),
    )
    .action(async (flags: ValidateFlags) => {
      const { validateAll } = await import('../control/validate.ts');
      const { models, problems } = await validateAll(
        flags.config,
        flags.modelRepository?.map((path) => resolve(path)),
      );
      for (const problem of problems) output.err(problem);
      if (problems.length > 0)
        throw new CliError(`${problems.length} problem${problems.length === 1 ? '' : 's'} found`);
      output.out(`no problems; ${models} model${models === 1 ? '' : 's'}`);
    });
}
