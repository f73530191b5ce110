import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import type { KafkaMessage, Message } from 'kafkajs';
import type { Logger } from 'pino';
import type { KafkaConfig, TopicInferenceConfig } from '../config/kafka-schema.ts';
import { isFramed } from '../kafka/avro-values.ts';
import type { KafkaClients } from '../kafka/client.ts';
import { type DeadLetter, deadLetterTopic, TopicWriter } from '../kafka/dead-letters.ts';
import { type FollowedBatch, TopicFollower } from '../kafka/follower.ts';
import type { Lag } from '../kafka/lag.ts';
import type { DataPlane, InferRequest, InferResponse, RequestContext } from '../pipeline/types.ts';
import { decodeSoon } from '../protocol/v2/aside-decoder.ts';
import { encodeInferResponse, encodeInSlices, needsSlices } from '../protocol/v2/json-writer.ts';
import { monotonicMs } from '../shared/clock.ts';
import { type ErrorCode, SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { AvroRequests, answerOf } from './avro-requests.ts';

export interface InferenceTopicParts {
  kafka: KafkaConfig;
  plane: DataPlane;
  log: Logger;
}

/** What became of records. */
export interface TopicCounts {
  answered: number;
  deadLetters: number;
  retries: number;
  /** Records without a value, which ask for nothing. */
  tombstones: number;
}

/** The same as the thread tells it, with how far it is behind. */
export interface TopicFigures extends TopicCounts {
  lags: Lag[];
}

/** The server is not able to now, or has no such model yet: the record waits, and everything behind it in its partition. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['overloaded', 'unavailable', 'not_found', 'cancelled']);
/** What may be the record's fault or not is tried three times. */
const DOUBTFUL: ReadonlySet<ErrorCode> = new Set(['internal', 'deadline_exceeded']);
const TRIES = 3;
const FIRST_WAIT_MS = 100;
const MAX_WAIT_MS = 5000;
/** Between two looks whether a topic that was not there has been made. */
const LOOK_MS = 5000;

/**
 * Inference over topics: requests (v2 JSON, or Avro framed by a schema registry) from one, answers to another, with the request's key. Goes through the
 * thread's own data plane, so routes, batches, features and the event log are those of every request. In a partition
 * answers come in the order of requests. At least once: an answer is written before its request's offset is committed, and
 * `switchyard-request` (topic/partition/offset) tells duplicates apart.
 */
export class InferenceTopic {
  readonly counts: TopicCounts = { answered: 0, deadLetters: 0, retries: 0, tombstones: 0 };
  private readonly settings: TopicInferenceConfig;
  private readonly parts: InferenceTopicParts;
  private readonly follower: TopicFollower;
  private readonly writer = new TopicWriter();
  private readonly avro: AvroRequests | undefined;
  /** Those by whom the topics for answers and dead letters were found. */
  private complete: KafkaClients | undefined;
  private told = '';

  constructor(settings: TopicInferenceConfig, parts: InferenceTopicParts) {
    this.settings = settings;
    if (settings.avro !== undefined)
      this.avro = new AvroRequests(settings.avro, parts.kafka.topicPrefix + settings.results);
    this.parts = parts;
    this.follower = new TopicFollower({
      kafka: parts.kafka,
      log: parts.log,
      group: `inference.${settings.requests}`,
      trouble: `requests of the topic ${settings.requests} cannot be answered`,
      partitions: 4,
      resolvesItself: true,
      take: (batch) => this.take(batch),
    });
  }

  start(): void {
    this.follower.follow([this.settings.requests]);
  }

  figures(): TopicFigures {
    return { ...this.counts, lags: this.follower.lags() };
  }

  async close(): Promise<void> {
    await this.follower.close();
    await this.writer.close();
  }

  private async take(batch: FollowedBatch): Promise<void> {
    // Before any is asked: what cannot be answered would be asked again and again.
    if (!(await this.topicsAreThere(batch))) return;
    try {
      await this.answerAll(batch);
    } catch (error) {
      // One of them may have been deleted.
      this.complete = undefined;
      throw error;
    }
  }

  /** Waits until there are topics for what comes of a batch. False: the partition is lost meanwhile. */
  private async topicsAreThere({ clients, payload }: FollowedBatch): Promise<boolean> {
    while (this.complete !== clients) {
      const missing = await this.writer.missing(clients, [this.settings.results, this.deadLetters]);
      if (missing.length === 0) {
        this.complete = clients;
        this.told = '';
        break;
      }
      const names = missing.map((name) => JSON.stringify(clients.topic(name))).join(' and ');
      const reason = `Kafka has no topic ${names}, or does not show it to this user, and does not make it; create it`;
      if (reason !== this.told) this.parts.log.error({ topic: this.settings.requests, reason }, 'requests wait');
      this.told = reason;
      await payload.heartbeat();
      await sleep(LOOK_MS);
      if (!payload.isRunning() || payload.isStale()) return false;
    }
    return true;
  }

  private get deadLetters(): string {
    return this.settings.deadLetters ?? deadLetterTopic(this.settings.requests);
  }

  private async answerAll({ topic, partition, messages, payload, clients }: FollowedBatch): Promise<void> {
    const { inFlight, results } = this.settings;
    for (let from = 0; from < messages.length; from += inFlight) {
      if (!payload.isRunning() || payload.isStale()) return;
      const chunk = messages.slice(from, from + inFlight);
      const asked = chunk.filter(({ value }) => value !== null);
      const outcomes = await Promise.all(asked.map((message) => this.answer(message, partition, payload)));
      const answered: { message: KafkaMessage; answer: Message }[] = [];
      const letters: DeadLetter[] = [];
      for (const [i, outcome] of outcomes.entries()) {
        // Given up because the partition is another member's now: it comes again there.
        if (outcome === undefined) return;
        if ('code' in outcome) letters.push(outcome);
        else answered.push({ message: asked[i], answer: outcome });
      }
      const answers = answered.map(({ answer }) => answer);
      const tooLarge = await this.writer.send(clients, results, answers);
      for (const number of tooLarge) letters.push(this.unsent(answered[number]));
      await this.writer.setAside(clients, topic, partition, letters, this.deadLetters);
      this.counts.answered += answers.length - tooLarge.length;
      this.counts.deadLetters += letters.length;
      this.counts.tombstones += chunk.length - asked.length;
      payload.resolveOffset(chunk[chunk.length - 1].offset);
      await payload.commitOffsetsIfNecessary();
      await payload.heartbeat();
    }
  }

  /** The answer's record, or why there will be none; undefined: the partition is lost. */
  private async answer(
    message: KafkaMessage,
    partition: number,
    payload: FollowedBatch['payload'],
  ): Promise<Message | DeadLetter | undefined> {
    if (message.value?.length === 0)
      return { message, code: 'invalid_argument', reason: 'the record is empty; send a request' };
    for (let tries = 1, wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, MAX_WAIT_MS)) {
      try {
        return this.messageOf(message, partition, await this.infer(message));
      } catch (thrown) {
        const error = toSwitchyardError(thrown);
        const passes = PASSING.has(error.code);
        if (!passes && (!DOUBTFUL.has(error.code) || tries >= TRIES))
          return { message, code: error.code, reason: error.message };
        if (!passes) tries++;
        if (wait === MAX_WAIT_MS)
          this.parts.log.warn({ topic: this.settings.requests, reason: error.message }, 'a request waits');
        this.counts.retries++;
        await this.pause(Math.max(wait, error.retryAfterMs ?? 0), payload);
        if (!payload.isRunning() || payload.isStale()) return undefined;
      }
    }
  }

  /** Waits, and stays a member of the group meanwhile. */
  private async pause(ms: number, payload: FollowedBatch['payload']): Promise<void> {
    await payload.heartbeat();
    await sleep(Math.min(ms, MAX_WAIT_MS));
  }

  /** Rejects with SwitchyardError. */
  private async infer(message: KafkaMessage): Promise<Buffer> {
    const { model, version, tenant, timeoutMs } = this.settings;
    const now = monotonicMs();
    const context: RequestContext = {
      protocol: 'kafka',
      tenant,
      receivedAt: now,
      deadline: now + timeoutMs,
      priority: 0,
      maxPriority: 0,
      traceparent: headerOf(message, 'traceparent') ?? '',
      tracestate: headerOf(message, 'tracestate') ?? '',
      path: this.settings.requests,
      headers: { header: (name) => headerOf(message, name) },
      served: undefined,
    };
    const value = message.value as Buffer;
    let request: InferRequest;
    try {
      await this.avro?.prepare();
      request =
        this.avro !== undefined && isFramed(value)
          ? await this.avro.request(model, version, value)
          : await decodeSoon(model, version, value, -1);
    } catch (thrown) {
      const error = toSwitchyardError(thrown);
      // A schema registry that is away is no request's fault.
      if (!PASSING.has(error.code)) this.parts.plane.refused(model, version, context, error);
      throw error;
    }
    if (this.avro !== undefined && this.settings.avro?.answers === 'avro')
      return this.avro.frame(await this.ask(request, context, answerOf));
    return this.ask(request, context, printed);
  }

  /** @param form makes the answer of its tensors */
  private ask<T>(
    request: InferRequest,
    context: RequestContext,
    form: (response: InferResponse, request: InferRequest) => T | Promise<T>,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let kept: InferResponse | undefined;
      this.parts.plane.infer(request, context, {
        onError: reject,
        onResponse: (response, final) => {
          try {
            if (response.outputs.length > 0 && kept !== undefined)
              throw new SwitchyardError(
                'unsupported',
                `model '${request.model}' answers several times; topics take one answer`,
              );
            if (response.outputs.length > 0) kept = response;
            if (final) resolve(form(kept ?? response, request));
          } catch (error) {
            reject(error as Error);
          }
        },
      });
    });
  }

  private unsent({ message, answer }: { message: KafkaMessage; answer: Message }): DeadLetter {
    const reason = `the answer has ${answer.value?.length ?? 0} bytes, more than the topic ${this.settings.results} takes; raise its max.message.bytes, or ask for less at a time`;
    return { message, code: 'payload_too_large', reason };
  }

  private messageOf(message: KafkaMessage, partition: number, value: Buffer): Message {
    const traceparent = headerOf(message, 'traceparent');
    const tracestate = headerOf(message, 'tracestate');
    return {
      key: message.key,
      value,
      headers: {
        'content-type': this.settings.avro?.answers === 'avro' ? 'avro/binary' : 'application/json',
        'switchyard-request': `${this.settings.requests}/${partition}/${message.offset}`,
        ...(traceparent === undefined ? {} : { traceparent }),
        ...(tracestate === undefined ? {} : { tracestate }),
      },
    };
  }
}

/** A copy of the answer's JSON. A large one is printed in slices, one in each turn of the loop. */
function printed(response: InferResponse, request: InferRequest): Buffer | Promise<Buffer> {
  if (needsSlices(response, request)) return printedInSlices(response, request);
  return Buffer.from(encodeInferResponse(response, request).body);
}

async function printedInSlices(response: InferResponse, request: InferRequest): Promise<Buffer> {
  const slices = encodeInSlices(response, request);
  for (;;) {
    const { done, value } = slices.next();
    if (done) return Buffer.from(value.body);
    await immediate();
  }
}

function headerOf({ headers }: KafkaMessage, name: string): string | undefined {
  const value = headers?.[name];
  const first = Array.isArray(value) ? value[0] : value;
  return first === undefined ? undefined : String(first);
}
