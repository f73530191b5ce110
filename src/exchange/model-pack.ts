import { checkArtifactPath } from '../registry/artifacts/path.ts';
import { type Digest, isDigest } from '../registry/blobs/digest.ts';
import type { ManifestFile } from '../registry/manifest/manifest.ts';
import { SwitchyardError } from '../shared/errors.ts';

/** Names of the CNCF ModelPack specification (version 1) and of OCI. */
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const ARTIFACT = 'application/vnd.cncf.model.manifest.v1+json';
const CONFIG = 'application/vnd.cncf.model.config.v1+json';
const FILE_PATH = 'org.cncf.model.filepath';
/** Ours: what else the registry knows of a file and of the version. */
const MEDIA_TYPE = 'dev.switchyard.media-type';
const VERSION = 'dev.switchyard.version';
const SIGNATURES = 'dev.switchyard.signatures';

export interface Descriptor {
  mediaType: string;
  digest: Digest;
  size: number;
  annotations?: Record<string, string>;
}

/** What of a version travels beside its files. */
export interface VersionFacts {
  name: string;
  version: string;
  description: string;
  tags: Readonly<Record<string, string>>;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** Of the version's manifest: name, version, and path, digest, size and media type of every file. */
  signatures: readonly { keyid: string; sig: string }[];
}

/** A layer's kind by the file's name: weights, what weights need to be read, documentation, code, data. */
function layerType(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  const kind = /^(readme|license|notice|model_card)|\.(md|rst|pdf)$/.test(name)
    ? 'doc'
    : /\.(py|ipynb|sh|mjs|js|ts)$/.test(name)
      ? 'code'
      : /\.(csv|parquet|arrow|jsonl)$/.test(name)
        ? 'dataset'
        : /\.(json|ya?ml|toml|txt|cfg|ini|pbtxt|model|vocab)$|^mlmodel$/.test(name)
          ? 'weight.config'
          : 'weight';
  return `application/vnd.cncf.model.${kind}.v1.raw`;
}

export function layersOf(files: readonly ManifestFile[]): Descriptor[] {
  return files.map(({ path, digest, size, mediaType }) => ({
    mediaType: layerType(path),
    digest,
    size,
    annotations: { [FILE_PATH]: path, [MEDIA_TYPE]: mediaType, 'org.opencontainers.image.title': path },
  }));
}

/** ModelPack's description of the model. */
export function modelConfig(facts: VersionFacts, files: readonly ManifestFile[]): object {
  const format = files.some(({ path }) => path.endsWith('.onnx'))
    ? 'onnx'
    : files.some(({ path }) => path.endsWith('.safetensors'))
      ? 'safetensors'
      : undefined;
  return {
    descriptor: {
      createdAt: new Date(facts.createdAt).toISOString(),
      name: facts.name,
      version: facts.version,
      ...(facts.description === '' ? {} : { description: facts.description }),
    },
    config: format === undefined ? {} : { format },
    modelfs: { type: 'layers', diffIds: files.map(({ digest }) => digest) },
  };
}

export function ociManifest(
  config: { digest: Digest; size: number },
  layers: readonly Descriptor[],
  facts: VersionFacts,
): object {
  return {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    artifactType: ARTIFACT,
    config: { mediaType: CONFIG, ...config },
    layers,
    annotations: {
      'org.opencontainers.image.title': facts.name,
      'org.opencontainers.image.version': facts.version,
      [VERSION]: JSON.stringify({ description: facts.description, tags: facts.tags }),
      ...(facts.signatures.length === 0 ? {} : { [SIGNATURES]: JSON.stringify(facts.signatures) }),
    },
  };
}

/** One descriptor of a parsed document. Throws invalid_argument. */
export function readDescriptor(value: unknown, what: string): Descriptor {
  const { mediaType, digest, size, annotations } = (value ?? {}) as Partial<Descriptor>;
  if (typeof mediaType !== 'string') throw refused(`${what} has no media type`);
  if (typeof digest !== 'string' || !isDigest(digest)) throw refused(`${what} has no sha256 digest`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw refused(`${what} has no size`);
  const texts = Object.entries(annotations ?? {}).filter(([, text]) => typeof text === 'string');
  return { mediaType, digest, size, annotations: Object.fromEntries(texts) };
}

/** A layer that is a file, or an archive of files: modctl, which packs models, writes one of each. */
export interface PackedLayer extends ManifestFile {
  form: 'file' | 'tar' | 'tar+gzip';
}

export interface PackedModel {
  config: Descriptor;
  layers: PackedLayer[];
  /** As the package says; '' where it is silent. */
  name: string;
  version: string;
  description: string;
  tags: Record<string, string>;
}

/** Reads a manifest of ModelPack's. Throws invalid_argument for other artifacts, other kinds of layers and unsafe paths. */
export function readManifest(document: unknown): PackedModel {
  const {
    artifactType,
    config,
    layers: given,
    annotations = {},
  } = (document ?? {}) as {
    artifactType?: unknown;
    config?: unknown;
    layers?: unknown;
    annotations?: Record<string, unknown>;
  };
  const described = readDescriptor(config, 'config');
  if (artifactType !== ARTIFACT && described.mediaType !== CONFIG)
    throw refused(`it is ${JSON.stringify(artifactType ?? described.mediaType)}, not a model (${ARTIFACT})`);
  if (!Array.isArray(given) || given.length === 0) throw refused('it has no layers');
  const layers = given.map((layer, i) => readLayer(readDescriptor(layer, `layer ${i}`), i));
  checkPaths(layers.filter(({ form }) => form === 'file'));
  const text = (key: string): string => (typeof annotations[key] === 'string' ? annotations[key] : '');
  return {
    config: described,
    layers,
    name: text('org.opencontainers.image.title'),
    version: text('org.opencontainers.image.version'),
    ...readFacts(text(VERSION)),
  };
}

/** Throws invalid_argument when two files have one path. */
export function checkPaths(files: readonly { path: string }[]): void {
  const paths = new Set<string>();
  for (const { path } of files) {
    if (paths.has(path)) throw refused(`the path ${JSON.stringify(path)} occurs twice`);
    paths.add(path);
  }
}

function readLayer({ mediaType, digest, size, annotations = {} }: Descriptor, i: number): PackedLayer {
  const path = annotations[FILE_PATH] ?? annotations['org.opencontainers.image.title'];
  const [, form] = /^application\/vnd\.cncf\.model\.[a-z.]+\.v1\.(raw|tar|tar\+gzip)$/.exec(mediaType) ?? [];
  if (form === undefined) {
    throw refused(
      `layer ${i} (${JSON.stringify(path ?? '')}) is ${JSON.stringify(mediaType)}; package the model with raw layers, or with tar or tar+gzip layers`,
    );
  }
  // Paths of an archive's files are in it.
  if (form === 'tar' || form === 'tar+gzip') return { path: path ?? '', digest, size, mediaType: '', form };
  if (path === undefined) throw refused(`layer ${i} does not say its file's path (${FILE_PATH})`);
  return { path: checkArtifactPath(path), digest, size, mediaType: annotations[MEDIA_TYPE] ?? '', form: 'file' };
}

function readFacts(text: string): { description: string; tags: Record<string, string> } {
  if (text === '') return { description: '', tags: {} };
  let facts: { description?: unknown; tags?: unknown } | null;
  try {
    facts = JSON.parse(text) as typeof facts;
  } catch {
    throw refused(`its annotation ${VERSION} is not JSON`);
  }
  const tags = Object.entries((facts?.tags ?? {}) as object).filter(([, value]) => typeof value === 'string');
  return {
    description: typeof facts?.description === 'string' ? facts.description : '',
    tags: Object.fromEntries(tags),
  };
}

export function refused(problem: string): SwitchyardError {
  return new SwitchyardError('invalid_argument', `the model package is refused: ${problem}`);
}
