import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { ProcessBackend } from '../backends/process/backend.ts';
import { backendName, createBackend } from '../backends/registry.ts';
import { isRemote } from '../models/config/backends.ts';
import { completeConfig } from '../models/config/complete.ts';
import { warmUpAside } from '../models/preflight-check.ts';
import { toSwitchyardError } from '../shared/errors.ts';
import { MetricsBlock } from '../telemetry/metrics-block.ts';
import type { ThreadMetrics } from '../telemetry/thread-metrics.ts';
import { type ExecutorCores, takeCores } from '../tensor/cores.ts';
import { ExecutorCore } from './core.ts';
import type { Frame } from './frame.ts';
import type { ExecutorCommand, ExecutorEvent } from './messages.ts';
import { RunMark } from './run-mark.ts';

/** Entry of an executor worker thread: ports in, ports out; all decisions are ExecutorCore's. */
export interface ExecutorThreadData {
  metrics: ThreadMetrics;
  /** Memory of its RunMark. */
  mark: SharedArrayBuffer;
  cores: ExecutorCores | undefined;
}

const control = parentPort as MessagePort;
const gateways: (MessagePort | undefined)[] = [];
const data = workerData as ExecutorThreadData;
const metrics = new MetricsBlock(data.metrics.chunks);

function event(message: ExecutorEvent): void {
  control.postMessage(message);
}

const core = new ExecutorCore({
  backend: async (spec, handle) =>
    spec.config.isolation === 'process'
      ? new ProcessBackend(
          backendName(spec.config.backend),
          (crash) => event({ kind: 'crashed', handle, message: crash.reason }),
          (bytes) => event({ kind: 'memory', handle, bytes }),
        )
      : createBackend(spec.config.backend),
  complete: (config, signature) => completeConfig(config, signature),
  warmUp: async (model, spec) => {
    // Made-up requests are no business of another server.
    if (isRemote(spec.config.backend) && spec.config.warmup.length === 0) return;
    await warmUpAside(model, spec.config);
  },
  onAbsence: (handle, absence) => event({ kind: 'absence', handle, absence }),
  send: (gateway, frame, transfer) => gateways[gateway]?.postMessage(frame, transfer),
  metrics,
  mark: new RunMark(data.mark),
  drainPorts,
});

function drainPorts(): void {
  for (let gateway = 0; gateway < gateways.length; gateway++) {
    const port = gateways[gateway];
    if (port === undefined) continue;
    for (let message = receiveMessageOnPort(port); message !== undefined; message = receiveMessageOnPort(port)) {
      core.receive(gateway, message.message as Frame);
    }
  }
}

function addGateway(gateway: number, port: MessagePort): void {
  gateways[gateway] = port;
  port.on('message', (frame: Frame) => {
    core.receive(gateway, frame);
    core.pump();
  });
  port.on('close', () => {
    if (gateways[gateway] === port) gateways[gateway] = undefined;
  });
}

function answer(call: number, work: Promise<ExecutorEvent>): void {
  work.then(event, (error: unknown) => {
    const { code, message } = toSwitchyardError(error);
    event({ kind: 'failed', call, code, message });
  });
}

control.on('message', (command: ExecutorCommand) => {
  switch (command.kind) {
    case 'gateway':
      addGateway(command.gateway, command.port);
      break;
    case 'load':
      answer(
        command.call,
        core
          .load(command.handle, command.spec, command.metricsRow)
          .then((loaded) => ({ kind: 'loaded', call: command.call, ...loaded })),
      );
      break;
    case 'metricsChunk':
      metrics.addChunk(command.chunk);
      break;
    case 'unload':
      answer(
        command.call,
        core.unload(command.handle).then(() => ({ kind: 'done', call: command.call })),
      );
      break;
    case 'stop':
      event({ kind: 'done', call: command.call });
      for (const port of gateways) port?.close();
      control.close();
      break;
  }
});

event({ kind: 'ready', thread: data.cores && takeCores(data.cores) });
