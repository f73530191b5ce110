import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface TensorMetadata {
  name: string;
  datatype: string;
  /** -1: any length. */
  shape: number[];
}

export interface ModelMetadata {
  name: string;
  versions: string[];
  platform: string;
  inputs: TensorMetadata[];
  outputs: TensorMetadata[];
}

/** Path of a model, or of one of its versions, in the v2 protocol. */
export function modelPath(model: string, version = ''): string {
  const base = `/v2/models/${encodeURIComponent(model)}`;
  return version === '' ? base : `${base}/versions/${encodeURIComponent(version)}`;
}

/** The v2 inference protocol over HTTP, JSON form. Every call rejects with ClientError. */
export class InferenceClient {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  async metadata(model: string, version = ''): Promise<ModelMetadata> {
    const { text } = await send(this.options, 'GET', modelPath(model, version));
    return parseAnswer<ModelMetadata>(text, this.options.url);
  }

  /** Sends a v2 request and resolves with the answer as text: parsing would round 64-bit integers. */
  async inferText(model: string, request: string, version = ''): Promise<string> {
    const { text } = await send(this.options, 'POST', `${modelPath(model, version)}/infer`, request);
    return text;
  }
}
