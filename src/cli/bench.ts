import { type Command, Option } from 'commander';
import { readRequest } from './infer.ts';
import { CliError, type Output } from './io.ts';
import { positiveInteger, positiveNumber, type ServerFlags, withServer } from './options.ts';

interface BenchFlags extends ServerFlags {
  concurrency: number;
  duration: number;
  rate?: number;
  data?: string;
  output: 'json' | 'table';
}

export function addBench(program: Command, output: Output): void {
  withServer(program.command('bench').description('measure a model of a running server over HTTP'))
    .argument('<model>')
    .addOption(
      new Option('--concurrency <n>', 'connections; requests in flight at most').default(16).argParser(positiveInteger),
    )
    .addOption(new Option('--duration <seconds>').default(10).argParser(positiveNumber))
    .addOption(
      new Option('--rate <requests/s>', 'open loop: send on schedule, and count latency from it').argParser(
        positiveNumber,
      ),
    )
    .option('--data <file>', 'a whole v2 request as JSON; default: zeros in every input')
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .action((model: string, flags: BenchFlags) => bench(model, flags, output));
}

async function bench(model: string, flags: BenchFlags, output: Output): Promise<void> {
  const { InferenceClient, modelPath } = await import('../client/inference.ts');
  const { zeroRequest } = await import('../client/tensor-json.ts');
  const { runLoad } = await import('../client/load.ts');
  const client = new InferenceClient({ url: flags.url, token: flags.apiKey });
  const request =
    flags.data === undefined
      ? zeroRequest((await client.metadata(model, flags.modelVersion)).inputs)
      : await readRequest(flags.data, output);
  // The server's own words on a bad request, before thousands of it are counted.
  await client.inferText(model, request, flags.modelVersion);
  const result = await runLoad({
    url: new URL(`${modelPath(model, flags.modelVersion)}/infer`, flags.url),
    body: Buffer.from(request),
    token: flags.apiKey,
    concurrency: flags.concurrency,
    durationMs: flags.duration * 1000,
    rate: flags.rate,
  });
  if (flags.output === 'json') output.out(JSON.stringify(result, undefined, 2));
  else {
    const ms = (value: number): string => value.toFixed(3);
    output.out(
      [
        `requests/s  ${result.requestsPerSecond.toFixed(1)}`,
        `p50 ms      ${ms(result.p50Ms)}`,
        `p90 ms      ${ms(result.p90Ms)}`,
        `p99 ms      ${ms(result.p99Ms)}`,
        `max ms      ${ms(result.maxMs)}`,
        `answered    ${result.succeeded}`,
        `errors      ${result.failed}${Object.entries(result.errors)
          .map(([what, count]) => `  ${what}: ${count}`)
          .join('')}`,
      ].join('\n'),
    );
  }
  if (result.failed > 0) throw new CliError(`${result.failed} of ${result.succeeded + result.failed} requests failed`);
}
