import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { JobRow, JobsApi } from '../client/jobs.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type AdminFlags, positiveInteger, withAdmin } from './options.ts';
import { formatTable } from './table.ts';

/** Exit codes of `submit --wait`, `get` and `logs -f`: a script can go on from a job's end. */
const EXIT_HELP = `
Exit codes:
  0   succeeded
  1   failed, timed out, or refused
  2   wrong command line
  3   cancelled
  4   not over yet
  69  no server answered`;

const COLUMNS = ['id', 'name', 'status', 'progress', 'attempt', 'age', 'reason'];
const RUNNERS = ['process', 'kubernetes', 'trainjob', 'ray'];
const STATUSES = [
  'queued',
  'provisioning',
  'starting',
  'running',
  'retrying',
  'succeeded',
  'failed',
  'cancelled',
  'timedOut',
];

/** Verbs for training jobs. */
export function addJobs(program: Command, output: Output, setExit: (code: number) => void): void {
  const jobs = program.command('jobs').description('run training jobs').addHelpText('after', EXIT_HELP);
  withAdmin(jobs.command('submit').description("run the jobs of a file; a sourceDir's files are sent along"))
    .argument('<files...>', '"-" reads standard input')
    .option('-w, --wait', 'show its output until it is over')
    .addOption(new Option('--runner <kind>', "in place of the file's").choices(RUNNERS))
    .option('--dry-run', 'only let the server check')
    .option('--reason <text>', 'kept with the job', '')
    .action(async (files: string[], flags: AdminFlags & SubmitFlags) => setExit(await submit(files, flags, output)));
  withAdmin(jobs.command('list').description('list jobs, the newest first'))
    .addOption(new Option('--status <status>').choices(STATUSES))
    .option('--name <name>')
    .option('--limit <count>', 'at most so many', positiveInteger, 100)
    .action(async (flags: AdminFlags & { status?: string; name?: string; limit: number }) => {
      const rows = await firstRows(await connect(flags), flags);
      output.out(flags.output === 'json' ? JSON.stringify(rows, undefined, 2) : formatTable(COLUMNS, rows.map(row)));
    });
  withAdmin(jobs.command('get').description('show one job; the exit code follows its state'))
    .argument('<job>')
    .action(async (id: string, flags: AdminFlags) =>
      setExit(show(await (await connect(flags)).get(id), flags, output)),
    );
  withAdmin(jobs.command('logs').description('print the output of a job'))
    .argument('<job>')
    .option('-f, --follow', 'go on until it is over; the exit code follows its end')
    .option('--attempt <number>', 'default: the last one', positiveInteger)
    .action(async (id: string, flags: AdminFlags & { follow?: boolean; attempt?: number }) => {
      const api = await connect(flags);
      if (flags.follow === true) setExit(await follow(api, id, output));
      else output.out((await api.logs(id, flags.attempt)).replace(/\n$/, ''));
    });
  for (const [verb, description] of [
    ['cancel', 'end a job: TERM, and KILL after its graceSeconds'],
    ['retry', 'give an ended job another round of attempts'],
  ] as const) {
    withAdmin(jobs.command(verb).description(description))
      .argument('<job>')
      .option('--reason <text>', 'kept with the job', '')
      .action(async (id: string, flags: AdminFlags & { reason: string }) => {
        const job = await (await connect(flags)).command(id, verb, flags.reason);
        output.out(flags.output === 'json' ? JSON.stringify(job, undefined, 2) : `${job.id} is ${job.status}`);
      });
  }
  withAdmin(jobs.command('delete').description('forget an ended job with its files; its run stays'))
    .argument('<job>')
    .action(async (id: string, flags: AdminFlags) => {
      await (await connect(flags)).remove(id);
      output.out(`deleted ${id}`);
    });
  jobs
    .command('validate')
    .description('check job files without a server')
    .argument('<files...>')
    .action(async (files: string[]) => {
      const documents = await readDocuments(files, output);
      output.out(`${documents.length} jobs, no problems`);
    });
}

/** A checked document, as it is sent. */
interface Sendable {
  spec: { runner: string; files: Record<string, string> };
}

interface SubmitFlags {
  wait?: boolean;
  runner?: string;
  dryRun?: boolean;
  reason: string;
}

async function connect(flags: AdminFlags): Promise<JobsApi> {
  const { JobsApi } = await import('../client/jobs.ts');
  return new JobsApi({ url: flags.admin, token: flags.token });
}

/** Jobs of files, each with the files of its sourceDir. Throws CliError with all problems. */
async function readDocuments(files: readonly string[], output: Output): Promise<Sendable[]> {
  const { parseJobs } = await import('../training/jobs/read.ts');
  const { packSourceDir } = await import('../training/work/source-dir.ts');
  const { ConfigError } = await import('../config/yaml-file.ts');
  const problems: string[] = [];
  const documents: Sendable[] = [];
  for (const file of files) {
    try {
      const text = file === '-' ? await output.stdin() : readFileSync(file, 'utf8');
      for (const { spec, ...rest } of parseJobs(text, file)) {
        const { sourceDir, ...others } = spec;
        const folder = file === '-' ? '.' : dirname(file);
        const sent = sourceDir === undefined ? {} : await packSourceDir(resolve(folder, sourceDir), undefined);
        documents.push({ ...rest, spec: { ...others, files: { ...sent, ...spec.files } } });
      }
    } catch (error) {
      if (error instanceof ConfigError) problems.push(...error.problems);
      else problems.push(`${file}: ${(error as Error).message}`);
    }
  }
  if (problems.length > 0) throw new CliError(problems.join('\n'));
  return documents;
}

async function submit(files: readonly string[], flags: AdminFlags & SubmitFlags, output: Output): Promise<number> {
  const api = await connect(flags);
  const submitted: JobRow[] = [];
  for (const document of await readDocuments(files, output)) {
    if (flags.runner !== undefined) document.spec.runner = flags.runner;
    const job = await api.submit(document, flags.reason, flags.dryRun);
    if (flags.dryRun === true) output.out(`no problems in ${job.name}`);
    else {
      submitted.push(job);
      if (flags.output !== 'json') output.out(`${job.id} ${job.name} is ${job.status}`);
    }
  }
  if (flags.dryRun === true) return EXIT.ok;
  if (flags.wait !== true) {
    if (flags.output === 'json') output.out(JSON.stringify(submitted, undefined, 2));
    return EXIT.ok;
  }
  let code: number = EXIT.ok;
  for (const { id } of submitted) code = Math.max(code, await follow(api, id, output));
  return code;
}

/** Prints output as it comes, and in the end how the job ended. Resolves with the exit code. */
async function follow(api: JobsApi, id: string, output: Output): Promise<number> {
  let last: JobRow | undefined;
  let rest = '';
  for await (const event of api.follow(id)) {
    if (event.type === 'log') {
      const lines = (rest + event.text).split('\n');
      rest = lines.pop() as string;
      for (const line of lines) output.out(line);
      continue;
    }
    if (event.job.status !== last?.status) output.err(stateLine(event.job));
    last = event.job;
  }
  if (rest !== '') output.out(rest);
  return last === undefined ? EXIT.failed : exitOf(last);
}

function stateLine({ id, status, reason, next_step }: JobRow): string {
  return `${id} is ${status}${reason === '' ? '' : `: ${reason}`}${next_step ? `; next: ${next_step}` : ''}`;
}

function show(job: JobRow, flags: AdminFlags, output: Output): number {
  if (flags.output === 'json') output.out(JSON.stringify(job, undefined, 2));
  else {
    const time = (at: number | null): string => (at === null ? '' : new Date(at).toISOString());
    const metrics = Object.entries(job.metrics).map(([name, value]) => ['metric', `${name} = ${value ?? 'NaN'}`]);
    const rows = [
      ['id', job.id],
      ['name', job.name],
      ['status', job.status],
      ['reason', job.reason],
      ['next', job.next_step ?? ''],
      ['attempt', String(job.attempt)],
      ['exit code', job.exit_code === null ? '' : String(job.exit_code)],
      ['run', job.run_id],
      ['progress', percent(job.progress)],
      ['created', time(job.created_at)],
      ['started', time(job.started_at)],
      ['ended', time(job.ended_at)],
      ...metrics,
    ];
    output.out(
      formatTable(
        ['what', 'is'],
        rows.filter(([, value]) => value !== ''),
      ),
    );
    if (job.log_tail) output.out(`\n${job.log_tail.trimEnd()}`);
  }
  return exitOf(job);
}

function exitOf({ status }: JobRow): number {
  if (status === 'succeeded') return EXIT.ok;
  if (status === 'failed' || status === 'timedOut') return EXIT.failed;
  return status === 'cancelled' ? 3 : 4;
}

async function firstRows(
  api: JobsApi,
  { status, name, limit }: { status?: string; name?: string; limit: number },
): Promise<JobRow[]> {
  const rows: JobRow[] = [];
  let token = '';
  do {
    const filter = { ...(status === undefined ? {} : { status }), ...(name === undefined ? {} : { name }) };
    const page = await api.list({ ...filter, limit: Math.min(limit - rows.length, 1000) }, token);
    rows.push(...page.jobs);
    token = page.next_page_token ?? '';
  } while (token !== '' && rows.length < limit);
  return rows;
}

function row({ id, name, status, progress, attempt, created_at, reason }: JobRow): string[] {
  const seconds = Math.max(0, Math.round((Date.now() - created_at) / 1000));
  const age =
    seconds < 120 ? `${seconds}s` : seconds < 7200 ? `${Math.round(seconds / 60)}m` : `${Math.round(seconds / 3600)}h`;
  return [id, name, status, percent(progress), String(attempt), age, reason.slice(0, 80)];
}

function percent(progress: number | null): string {
  return progress === null ? '' : `${Math.round(progress * 100)} %`;
}
