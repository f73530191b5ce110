import { CommanderError } from 'commander';
import { ClientError } from '../client/transport.ts';
import { CliError, EXIT } from './io.ts';

/** What to print of anything thrown (one line, '' = nothing) and the exit code. */
export function explain(error: unknown): { message: string; exitCode: number } {
  // Commander has printed its own message, or the help that was asked for.
  if (error instanceof CommanderError) return { message: '', exitCode: error.exitCode === 0 ? EXIT.ok : EXIT.usage };
  if (error instanceof CliError) return { message: `error: ${error.message}`, exitCode: error.exitCode };
  if (error instanceof ClientError) {
    const step = nextStep(error);
    const unreachable = error.status === 0;
    return {
      message: `error: ${oneLine(error.message)}${step === '' ? '' : `; ${step}`}`,
      exitCode: unreachable ? EXIT.unreachable : EXIT.failed,
    };
  }
  return {
    message: `error: ${oneLine(error instanceof Error ? error.message : String(error))}`,
    exitCode: EXIT.failed,
  };
}

function nextStep({ status, code }: ClientError): string {
  if (code === 'unreachable') return 'start a server with "switchyard serve", or name one with --admin or --url';
  if (code === 'timeout') return 'try again, or look at the log of the server';
  if (status === 401) return 'give the token with --token or SWITCHYARD_ADMIN_TOKEN (infer, bench: SWITCHYARD_API_KEY)';
  return '';
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ');
}
