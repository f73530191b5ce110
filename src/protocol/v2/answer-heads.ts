import type { Tensor } from '../../tensor/tensor.ts';
import { JsonOutput } from '../json/output.ts';

/** Texts before an output's elements. */
interface TensorHead {
  datatype: string;
  shape: number[];
  /** Up to and with the shape. */
  described: Uint8Array;
  /** The same and `,"data":[`. */
  opened: Uint8Array;
}

/** Shapes kept per output: batch sizes vary. */
const SHAPES = 8;
/** Names kept in each table; past it, it starts afresh. */
const MAX_NAMES = 1000;

interface ModelHead {
  version: string;
  bytes: Uint8Array;
  /** The latest answer's first output, and everything up to its elements. */
  output: TensorHead | undefined;
  opened: Uint8Array;
}

const models = new Map<string, ModelHead>();
const outputs = new Map<string, TensorHead[]>();
let turn = 0;
const scratch = new JsonOutput();

/** `{"model_name":…,"model_version":…`, kept from answer to answer. */
export function modelHead(model: string, version: string): Uint8Array {
  return modelEntry(model, version).bytes;
}

/** Everything of an answer up to the elements of its first output, for answers without id and parameters. */
export function answerStart(model: string, version: string, first: Tensor): Uint8Array {
  const entry = modelEntry(model, version);
  const output = tensorHead(first);
  if (entry.output !== output) {
    scratch.begin();
    scratch.bytes(entry.bytes);
    scratch.raw(',"outputs":[');
    scratch.bytes(output.opened);
    entry.output = output;
    entry.opened = scratch.view().slice();
  }
  return entry.opened;
}

function modelEntry(model: string, version: string): ModelHead {
  const known = models.get(model);
  if (known !== undefined && known.version === version) return known;
  scratch.begin();
  scratch.raw('{"model_name":');
  scratch.string(model);
  scratch.raw(',"model_version":');
  scratch.string(version);
  const bytes = scratch.view().slice();
  const entry: ModelHead = { version, bytes, output: undefined, opened: bytes };
  if (models.size >= MAX_NAMES) models.clear();
  models.set(model, entry);
  return entry;
}

/** `{"name":…,"datatype":…,"shape":[…]`, kept from answer to answer. */
export function tensorHead({ name, datatype, shape }: Tensor): TensorHead {
  let list = outputs.get(name);
  if (list !== undefined) {
    for (let i = 0; i < list.length; i++) {
      if (list[i].datatype === datatype && sameShape(list[i].shape, shape)) return list[i];
    }
  } else {
    if (outputs.size >= MAX_NAMES) outputs.clear();
    list = [];
    outputs.set(name, list);
  }
  scratch.begin();
  scratch.raw('{"name":');
  scratch.string(name);
  scratch.raw(',"datatype":"');
  scratch.raw(datatype);
  scratch.raw('","shape":');
  scratch.shape(shape);
  const described = scratch.view().slice();
  scratch.raw(',"data":[');
  const head = { datatype, shape: [...shape], described, opened: scratch.view().slice() };
  if (list.length < SHAPES) list.push(head);
  else list[turn++ % SHAPES] = head;
  return head;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}
