import { topicOf } from '../../eventlog/record.ts';

/** Topics that a sink of kind `kafka` writes, by their whole names. */
export interface LogTopics {
  inference: string;
  feedback: string;
  /** Feedback that names no model, of the requests of all models. */
  unmatched?: string | undefined;
}

/**
 * With the topic that the same sink fills with feedback that names no model, where it is not given: beside that of the
 * requests, whose name tells the prefix. None where that name is not the sink's for the model, or where it is read as
 * `feedback` already.
 */
export function withUnmatched(model: string, { inference, feedback, unmatched }: LogTopics): LogTopics {
  const own = topicOf(model, 'inference');
  const beside = inference.endsWith(own) ? inference.slice(0, -own.length) + topicOf('', 'feedback') : undefined;
  const found = unmatched ?? beside;
  return { inference, feedback, ...(found === undefined || found === feedback ? {} : { unmatched: found }) };
}
