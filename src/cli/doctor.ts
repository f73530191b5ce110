import { type Command, Option } from 'commander';
import { EXIT, type Output } from './io.ts';
import { formatTable } from './table.ts';

interface DoctorFlags {
  config?: string;
  gpu: boolean;
  output: 'json' | 'table';
}

const HELP = `
Nothing is changed. "missing" is not there and not needed, "warning" costs speed or may hurt later, "failed" keeps the
server from starting or from a service that it is to use; one "failed" ends with exit code 1.`;

/** @param exit told the exit code: findings are the answer, no failure of the command */
export function addDoctor(program: Command, output: Output, exit: (code: number) => void): void {
  program
    .command('doctor')
    .description('look at this machine and say what is missing for serving, and how to get it')
    .addOption(
      new Option('--config <file>', 'switchyard.yaml, whose ports and services are tried').env('SWITCHYARD_CONFIG'),
    )
    .option('--gpu', 'a GPU is wanted: what it lacks is a failure', false)
    .addOption(new Option('-o, --output <form>', 'form of the answer').choices(['table', 'json']).default('table'))
    .addHelpText('after', HELP)
    .action(async ({ config, gpu, output: form }: DoctorFlags) => {
      const { examine } = await import('../doctor/doctor.ts');
      const checks = await examine({ configFile: config, gpu });
      const failed = checks.filter(({ status }) => status === 'failed').length;
      if (form === 'json') output.out(JSON.stringify({ ok: failed === 0, checks }, undefined, 2));
      else {
        const rows = checks.map(({ area, name, status, found }) => [area, name, status, found]);
        output.out(formatTable(['area', 'check', 'status', 'found'], rows));
        for (const { name, remedy } of checks) if (remedy !== '') output.out(`${name}: ${remedy}`);
      }
      exit(failed === 0 ? EXIT.ok : EXIT.failed);
    });
}
