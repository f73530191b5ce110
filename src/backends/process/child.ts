import { toSwitchyardError } from '../../shared/errors.ts';
import type { BackendModel } from '../backend.ts';
import { createBackend } from '../registry.ts';
import type { FromChild, ToChild } from './protocol.ts';

/** Entry of an isolated executor: one process, one loaded version. It ends with its parent. */
let model: BackendModel | undefined;

function send(message: FromChild): void {
  process.send?.(message);
}

function sendError(id: number, thrown: unknown): void {
  const error = toSwitchyardError(thrown);
  send({ type: 'error', id, code: error.code, message: error.message });
}

async function handle(message: ToChild): Promise<void> {
  switch (message.type) {
    case 'load':
      try {
        model = await (await createBackend(message.backend)).load(message.spec);
        send({ type: 'loaded', signature: model.signature, memoryBytes: model.memoryBytes });
      } catch (error) {
        sendError(0, error);
      }
      return;
    case 'execute':
      try {
        const { inputs, outputs: names, parameters } = message;
        const options = { outputs: names, deadline: Number.POSITIVE_INFINITY, parameters };
        const outputs = await model!.execute(inputs, options);
        send({ type: 'result', id: message.id, outputs });
      } catch (error) {
        sendError(message.id, error);
      }
      return;
    case 'unload':
      await model?.unload();
      process.disconnect();
  }
}

process.on('message', (message: ToChild) => void handle(message));
process.on('disconnect', () => process.exit(0));
// The terminal's Ctrl-C reaches the whole process group; the parent drains and then unloads.
process.on('SIGINT', () => {});
