import { open, readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';
import type { LoadSpec } from '../backend.ts';

export interface ModelFiles {
  /** Absolute path of the model file. */
  path: string;
  /** Its name inside the version's folder, for messages. */
  name: string;
  /** Bytes of everything in the version's folder: the model and its external data. */
  bytes: number;
  /** Changes whenever one of these files does: name, place on the disk, size and times of each. */
  identity: string;
}

/** Extensions of formats that run code when they are loaded, or that need another runtime. */
const REFUSED = ['.pkl', '.pickle', '.joblib', '.pt', '.pth', '.bin', '.h5', '.keras', '.npy', '.npz', '.pb', '.plan'];

/**
 * Finds the model file (`default_model_filename`, else model.onnx) and checks that it is ONNX and that every file of
 * the version lies inside the model's folder.
 * @throws SwitchyardError unsupported for other formats, failed_precondition for a missing file or a link leading out
 */
export async function locateModel(spec: LoadSpec): Promise<ModelFiles> {
  const configured = spec.config.raw.default_model_filename;
  const name = typeof configured === 'string' && configured !== '' ? configured : 'model.onnx';
  const entries = await readdir(spec.directory, { recursive: true }).catch(() => {
    throw refused(spec, 'failed_precondition', 'its folder cannot be read');
  });
  if (!entries.includes(name)) {
    const other = entries.find((entry) => REFUSED.some((extension) => entry.endsWith(extension)));
    if (other !== undefined) throw wrongFormat(spec, other);
    throw refused(spec, 'failed_precondition', `it has no file "${name}"; export the model to ONNX under that name`);
  }
  const root = await realpath(spec.modelDirectory === '' ? spec.directory : spec.modelDirectory);
  let bytes = 0;
  const identities: string[] = [];
  for (const entry of entries) {
    const real = await realpath(join(spec.directory, entry)).catch(() => '');
    if (!real.startsWith(root + sep)) {
      throw refused(spec, 'failed_precondition', `"${entry}" is a link that leads out of the model's folder`);
    }
    const info = await stat(real, { bigint: true });
    if (info.isFile()) {
      bytes += Number(info.size);
      identities.push([entry, info.dev, info.ino, info.size, info.mtimeNs, info.ctimeNs].join(':'));
    } else if (!info.isDirectory()) throw refused(spec, 'failed_precondition', `"${entry}" is not a regular file`);
  }
  const path = join(spec.directory, name);
  await checkFormat(spec, path, name);
  return { path, name, bytes, identity: identities.sort().join('|') };
}

async function checkFormat(spec: LoadSpec, path: string, name: string): Promise<void> {
  const file = await open(path);
  const head = Buffer.alloc(8);
  const { bytesRead } = await file.read(head, 0, 8, 0).finally(() => file.close());
  if (bytesRead === 0) throw refused(spec, 'failed_precondition', `"${name}" is empty`);
  const pickle = head[0] === 0x80;
  const archive = head.toString('latin1', 0, 2) === 'PK';
  if (pickle || archive) throw wrongFormat(spec, name);
}

function wrongFormat(spec: LoadSpec, file: string): SwitchyardError {
  return refused(
    spec,
    'unsupported',
    `"${file}" is not ONNX. Pickles and other formats that run code when loaded are never opened; export to ONNX`,
  );
}

function refused(spec: LoadSpec, code: 'unsupported' | 'failed_precondition', why: string): SwitchyardError {
  return new SwitchyardError(code, `model "${spec.model}" version ${spec.version} was not loaded: ${why}`);
}
