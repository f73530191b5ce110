import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { ModelMetadata } from '../client/inference.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type ServerFlags, withServer } from './options.ts';

interface InferFlags extends ServerFlags {
  input?: string[];
  data?: string;
}

export function addInfer(program: Command, output: Output): void {
  withServer(program.command('infer').description('ask a model of a running server and print its answer as JSON'))
    .argument('<model>')
    .option('--input <name=json...>', 'one input as nested lists, such as x=[[1,2,3]]; repeatable')
    .option('--data <file>', 'a whole v2 request as JSON; "-" or neither flag: standard input')
    .action((model: string, flags: InferFlags) => infer(model, flags, output));
}

async function infer(model: string, flags: InferFlags, output: Output): Promise<void> {
  if (flags.input !== undefined && flags.data !== undefined)
    throw new CliError('--input and --data exclude each other; give one of them', EXIT.usage);
  const { InferenceClient } = await import('../client/inference.ts');
  const client = new InferenceClient({ url: flags.url, token: flags.apiKey });
  const request =
    flags.input === undefined
      ? await readRequest(flags.data ?? '-', output)
      : await buildRequest(flags.input, await client.metadata(model, flags.modelVersion));
  output.out(await client.inferText(model, request, flags.modelVersion));
}

/** A v2 request from a file, or from standard input for "-". Throws CliError unless it is a JSON object. */
export async function readRequest(file: string, output: Output): Promise<string> {
  let text: string;
  try {
    text = file === '-' ? await output.stdin() : await readFile(file, 'utf8');
  } catch (error) {
    throw new CliError(`--data ${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`, EXIT.usage);
  }
  const shown = file === '-' ? 'standard input' : file;
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === 'object' && value !== null && 'inputs' in value) return text;
  } catch (error) {
    throw new CliError(`${shown} is not JSON: ${(error as Error).message}`, EXIT.usage);
  }
  throw new CliError(`${shown} is no v2 request; give {"inputs": [{"name", "datatype", "shape", "data"}]}`, EXIT.usage);
}

/** A v2 request from "name=json" pairs; datatypes and shapes come from the model's metadata. Throws CliError. */
export async function buildRequest(pairs: readonly string[], metadata: Pick<ModelMetadata, 'inputs'>): Promise<string> {
  const { inputJson } = await import('../client/tensor-json.ts');
  const inputs = pairs.map((pair) => {
    const equals = pair.indexOf('=');
    const name = pair.slice(0, Math.max(equals, 0));
    const tensor = metadata.inputs.find((candidate) => candidate.name === name);
    if (equals < 1 || tensor === undefined) {
      const known = metadata.inputs.map((input) => input.name).join(', ');
      throw new CliError(
        `--input ${pair.slice(0, 60)}: give <name>=<JSON>; the model's inputs are ${known}`,
        EXIT.usage,
      );
    }
    try {
      return inputJson(tensor, pair.slice(equals + 1));
    } catch (error) {
      throw new CliError(`--input ${name}: ${(error as Error).message}`, EXIT.usage);
    }
  });
  return `{"inputs":[${inputs.join(',')}]}`;
}
