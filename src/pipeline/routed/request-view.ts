import { murmur3, murmur3Ascii } from '../../routing/hash.ts';
import type { RequestView } from '../../routing/matchers.ts';
import { firstElement } from '../../tensor/elements.ts';
import type { InferRequest, RequestContext } from '../types.ts';

/** What routing reads of a request, over what was decoded. One per thread, pointed at each request in turn. */
export class PipelineView implements RequestView {
  private request!: InferRequest;
  private context!: RequestContext;

  at(request: InferRequest, context: RequestContext): this {
    this.request = request;
    this.context = context;
    return this;
  }

  get model(): string {
    return this.request.model;
  }

  get path(): string {
    return this.context.path;
  }

  get tenant(): string {
    return this.context.tenant;
  }

  header(name: string): string | undefined {
    return this.context.headers?.header(name);
  }

  headerHash(name: string, seed: number): number {
    const { headers } = this.context;
    const where = headers?.bytes?.(name);
    if (where !== undefined && where.length > 0) {
      const hash = murmur3Ascii(where.block, where.at, where.length, seed);
      if (hash >= 0) return hash;
    }
    const text = headers?.header(name);
    return text === undefined || text === '' ? -1 : murmur3(text, seed);
  }

  parameter(name: string): string | undefined {
    const { parameters } = this.request;
    if (parameters === undefined || !Object.hasOwn(parameters, name)) return undefined;
    return String(parameters[name]);
  }

  input(name: string): string | undefined {
    for (const tensor of this.request.inputs) if (tensor.name === name) return firstElement(tensor);
    return undefined;
  }
}
