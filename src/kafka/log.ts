import type { LogEntry, logCreator } from 'kafkajs';
import type { Logger } from 'pino';

/** The same message is told once in this time: a broker that is away makes kafkajs repeat itself several times a second. */
const REPEAT_MS = 30_000;
const REMEMBERED = 64;

/** kafkajs's numbers of levels. */
const ERROR = 1;
const WARN = 2;

/**
 * kafkajs's lines as ours. Nothing it says is an error of the program: it tries again by itself, and what gives up says
 * so in its own words. So its errors are warnings here, and its information is for debugging.
 */
export function logInto(logger: Logger, now: () => number): logCreator {
  const told = new Map<string, number>();
  return () =>
    ({ namespace, level, log }: LogEntry) => {
      const { message, timestamp: _, logger: __, error: thrown, broker, topic, groupId, stack: ___, ...others } = log;
      // An Error has nothing that JSON shows.
      const error = thrown instanceof Error ? thrown.message : thrown;
      const key = `${namespace} ${message} ${String(error ?? '')} ${String(broker ?? '')}`;
      const at = now();
      if (level <= WARN) {
        const last = told.get(key);
        if (last !== undefined && at >= last && at - last < REPEAT_MS) return;
        if (told.size >= REMEMBERED) told.clear();
        told.set(key, at);
      }
      const fields = { kafka: namespace, error, broker, topic, groupId, ...(level > WARN ? others : {}) };
      if (level === ERROR) logger.warn(fields, message);
      else if (level === WARN) logger.info(fields, message);
      else logger.debug(fields, message);
    };
}
