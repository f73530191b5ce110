/** Exit codes of every verb; `serve` ends with the server's own. */
export const EXIT = {
  ok: 0,
  /** The server refused or failed, a request could not be answered, or validation found problems. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** No server answered. */
  unreachable: 69,
  /** The configuration cannot be used. */
  config: 78,
} as const;

export const EXIT_HELP = `
Exit codes:
  0   done
  1   the server refused or failed, or problems were found
  2   wrong command line
  69  no server answered
  78  the configuration cannot be used (serve)

Settings come from flags, then SWITCHYARD_* variables, then the configuration file, then defaults.`;

/** Where a verb writes; tests put their own in place. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
  /** Everything on standard input. */
  stdin(): Promise<string>;
}

/** A failure to be told in one line, with the next step, and no stack. */
export class CliError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failed) {
    super(message);
    this.name = 'CliError';
    this.exitCode = exitCode;
  }
}
