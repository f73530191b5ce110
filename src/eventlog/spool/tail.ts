import { recordJson } from '../encode/json.ts';
import { decodeFeedback, decodeRecord } from '../encode/record-decoder.ts';
import type { TailAnswer, VerifyAnswer } from '../messages.ts';
import { FEEDBACK, type SpoolRecord } from './format.ts';
import type { Spool } from './spool.ts';

const READ_RECORDS = 1000;

/** The last `count` records; with `from` ≥ 0 up to `count` from that number on. As JSON texts. */
export function tail(spool: Spool, count: number, from: number): TailAnswer {
  const first = from >= 0 ? from : spool.end.record - count;
  const records: string[] = [];
  let at = spool.find(first);
  while (records.length < count) {
    const read = spool.read(at, Math.min(READ_RECORDS, at.record < first ? first - at.record : count - records.length));
    if (read.next.record === at.record) break;
    if (read.next.record > first) for (const record of read.records) records.push(jsonOf(record));
    at = read.next;
  }
  return { records, next: at.record };
}

/** Reads everything and names what is damaged. */
export function verify(spool: Spool): VerifyAnswer {
  const answer: VerifyAnswer = { segments: 0, records: 0, bytes: 0, damaged: [] };
  for (const { segment, records, bytes, bad } of spool.check()) {
    answer.segments++;
    answer.records += records;
    answer.bytes += bytes;
    for (const { start, end } of bad) answer.damaged.push({ segment, offset: start, bytes: end - start });
  }
  return answer;
}

function jsonOf({ kind, body }: SpoolRecord): string {
  return recordJson(kind === FEEDBACK ? decodeFeedback(body) : decodeRecord(body));
}
