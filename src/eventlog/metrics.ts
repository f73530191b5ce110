import type { LogStatus } from './messages.ts';

/** Of a log that nothing came to. */
export function emptyStatus(): LogStatus {
  return {
    served: 0,
    feedback: 0,
    sampledOut: 0,
    droppedBehind: 0,
    droppedDisk: 0,
    droppedThread: 0,
    droppedEncoding: 0,
    waiting: 0,
    spooled: 0,
    spool: { bytes: 0, first: 0, next: 0, setAside: 0, tornBytes: 0, evicted: 0, errors: 0, lastError: '' },
    payloads: { bytes: 0, stored: 0, evicted: 0, errors: 0, sent: 0, sendErrors: 0, lastError: '' },
    sinks: [],
    monitorMessages: undefined,
    monitorLags: [],
  };
}

interface Sample {
  labels?: Record<string, string>;
  value: number;
}

/** The log's figures in Prometheus' text format. They add up: see docs/event-log.md. */
export function logMetrics(status: LogStatus, restarts: number): string {
  const { spool, payloads, sinks } = status;
  const bySink = (value: (sink: LogStatus['sinks'][number]) => number): Sample[] =>
    sinks.map((sink) => ({ labels: { sink: sink.name, kind: sink.kind }, value: value(sink) }));
  const dropped: Sample[] = [
    { labels: { reason: 'behind' }, value: status.droppedBehind },
    { labels: { reason: 'disk' }, value: status.droppedDisk },
    { labels: { reason: 'thread' }, value: status.droppedThread },
    { labels: { reason: 'encoding' }, value: status.droppedEncoding },
  ];
  return [
    metric('requests_total', 'counter', 'Requests that ended where logging is on', [{ value: status.served }]),
    metric('feedback_total', 'counter', 'Labels and rewards that came', [{ value: status.feedback }]),
    metric('sampled_out_total', 'counter', 'Requests that sampling left out', [{ value: status.sampledOut }]),
    metric('dropped_total', 'counter', 'Records dropped by policy before the spool', dropped),
    metric('waiting_records', 'gauge', 'Records between the gateway threads and the spool', [
      { value: status.waiting },
    ]),
    metric('spooled_total', 'counter', 'Records committed to the spool', [{ value: status.spooled }]),
    metric('spool_bytes', 'gauge', 'Size of the spool', [{ value: spool.bytes }]),
    metric('spool_errors_total', 'counter', 'Writes that the disk refused', [{ value: spool.errors }]),
    metric('spool_set_aside_total', 'counter', 'Damaged records', [{ value: spool.setAside }]),
    metric('spool_torn_bytes_total', 'counter', 'Bytes cut off at the start', [{ value: spool.tornBytes }]),
    metric('spool_evicted_total', 'counter', 'Records that the size limit took', [{ value: spool.evicted }]),
    metric('payload_bytes', 'gauge', 'Payloads by reference on the disk', [{ value: payloads.bytes }]),
    metric('payloads_total', 'counter', 'Payloads kept by reference, sent to the bucket, and deleted for room', [
      { labels: { result: 'stored' }, value: payloads.stored },
      { labels: { result: 'sent' }, value: payloads.sent },
      { labels: { result: 'evicted' }, value: payloads.evicted },
    ]),
    metric('payload_errors_total', 'counter', 'Payloads that the disk refused', [{ value: payloads.errors }]),
    metric('payload_send_errors_total', 'counter', 'Attempts to send a payload that failed', [
      { value: payloads.sendErrors },
    ]),
    metric(
      'sink_recovered_records',
      'gauge',
      'Records that waited for the sink at the start',
      bySink((s) => s.recovered),
    ),
    metric(
      'sink_sent_total',
      'counter',
      'Records that arrived',
      bySink((s) => s.sent),
    ),
    metric(
      'sink_refused_total',
      'counter',
      'Records that the sink will never take',
      bySink((s) => s.refused),
    ),
    metric(
      'sink_lost_total',
      'counter',
      'Records evicted or damaged before they were sent',
      bySink((s) => s.lost),
    ),
    metric(
      'sink_backlog_records',
      'gauge',
      'Records that wait for the sink',
      bySink((s) => s.backlog),
    ),
    metric(
      'sink_lag_seconds',
      'gauge',
      'How long something waits',
      bySink((s) => s.lagMs / 1000),
    ),
    metric(
      'sink_errors_total',
      'counter',
      'Attempts that failed',
      bySink((s) => s.errors),
    ),
    metric(
      'monitor_messages_total',
      'counter',
      'Messages of topics that monitors read, by what became of them',
      Object.entries(status.monitorMessages ?? {}).map(([result, value]) => ({ labels: { result }, value })),
    ),
    metric('thread_restarts_total', 'counter', 'Times the log thread was started again', [{ value: restarts }]),
  ].join('');
}

function metric(name: string, type: 'counter' | 'gauge', help: string, samples: readonly Sample[]): string {
  const full = `switchyard_eventlog_${name}`;
  const lines = samples.map(({ labels, value }) => {
    const shown = Object.entries(labels ?? {}).map(([key, text]) => `${key}="${text}"`);
    return `${full}${shown.length === 0 ? '' : `{${shown.join()}}`} ${value}\n`;
  });
  return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join('')}`;
}
