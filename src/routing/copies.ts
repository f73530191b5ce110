/**
 * Whether a copy for a shadow that ended with this status failed. One that was shed or came too late did not: copies
 * wait for all clients, so load alone can do that to them, and their variant had no say.
 */
export function copyFailed(status: string): boolean {
  return status !== 'ok' && status !== 'overloaded' && status !== 'deadline_exceeded' && status !== 'cancelled';
}
