/** `missing`: not there, and nothing needs it. */
export type Status = 'ok' | 'missing' | 'warning' | 'failed';

/** What one look at the machine found. Plain data: `switchyard doctor -o json` prints it. */
export interface Check {
  area: 'program' | 'gpu' | 'machine' | 'services';
  name: string;
  status: Status;
  /** What is there, in words; free of secrets. */
  found: string;
  /** The next step; '' when there is nothing to do. */
  remedy: string;
}

export function check(area: Check['area'], name: string, status: Status, found: string, remedy = ''): Check {
  return { area, name, status, found, remedy };
}

/** The first line of a failure that says what it is; some clients throw errors whose message is empty. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join('; ');
  const { code } = error as NodeJS.ErrnoException;
  return error.message.split('\n')[0] || code || error.name;
}
