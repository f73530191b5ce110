import { invalidArgument } from '../../shared/errors.ts';
import { nearest } from './map.ts';

interface BackendFacts {
  /** Triton's platform name, where it has one. */
  platform: string;
  /** Its versions are not files here: the model lives on another server. */
  remote: boolean;
  /** File of a version that tells this backend when the configuration does not; '' = none. */
  file: string;
}

/** Every backend a configuration may name. */
export const BACKENDS: Readonly<Record<string, BackendFacts>> = {
  onnxruntime: { platform: 'onnxruntime_onnx', remote: false, file: 'model.onnx' },
  javascript: { platform: '', remote: false, file: 'model.mjs' },
  ensemble: { platform: 'ensemble', remote: false, file: '' },
  triton: { platform: '', remote: true, file: '' },
  tfserving: { platform: '', remote: true, file: '' },
  kserve: { platform: '', remote: true, file: '' },
};

export function isRemote(backend: string): boolean {
  return Object.hasOwn(BACKENDS, backend) && BACKENDS[backend].remote;
}

/**
 * The backend and platform of a model from what its configuration names and, failing that, from the files of its
 * versions. Throws invalid_argument when nothing tells, or the names are unknown or contradict each other.
 */
export function chooseBackend(
  given: { backend?: string; platform?: string; ensemble_scheduling?: object },
  files: readonly string[],
): { backend: string; platform: string } {
  const platform = given.platform ?? '';
  let backend = given.backend ?? '';
  const names = Object.keys(BACKENDS);
  if (backend !== '' && !Object.hasOwn(BACKENDS, backend)) {
    throw invalidArgument(
      `backend "${backend}" is not served here; did you mean "${nearest(backend, names)}"? Allowed: ${names.join(', ')}. ` +
        'A model of another kind can be served by a Triton behind backend "triton"',
    );
  }
  const byPlatform =
    platform === '' ? '' : (names.find((name) => BACKENDS[name].platform === platform || name === platform) ?? '');
  if (platform !== '' && byPlatform === '') {
    throw invalidArgument(
      `platform "${platform}" is not served here; allowed: onnxruntime_onnx, ensemble. ` +
        'A model of another kind can be served by a Triton behind backend "triton"',
    );
  }
  if (backend !== '' && byPlatform !== '' && backend !== byPlatform) {
    throw invalidArgument(`backend "${backend}" contradicts platform "${platform}"; leave one of them out`);
  }
  if (backend === '') backend = byPlatform;
  if (backend === '' && given.ensemble_scheduling !== undefined) backend = 'ensemble';
  if (backend === '') {
    backend = names.find((name) => BACKENDS[name].file !== '' && files.includes(BACKENDS[name].file)) ?? '';
  }
  if (backend === '') {
    const expected = names.map((name) => BACKENDS[name].file).filter((file) => file !== '');
    throw invalidArgument(
      `no backend is named and no version holds ${expected.join(' or ')}; add the file or set "backend" in the configuration`,
    );
  }
  if ((backend === 'ensemble') !== (given.ensemble_scheduling !== undefined)) {
    throw invalidArgument('platform "ensemble" and ensemble_scheduling belong together; one of them is missing');
  }
  return { backend, platform: BACKENDS[backend].platform };
}
