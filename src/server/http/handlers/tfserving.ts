import type { ModelSignature } from '../../../config/model-config.ts';
import type { InferRequest, InferResponse, VersionStatus } from '../../../pipeline/types.ts';
import type { DecodeListener } from '../../../protocol/json/aside.ts';
import type { PredictRequest } from '../../../protocol/tfserving/predict-request.ts';
import {
  classesNeedSlices,
  encodeClassify,
  encodeClassifyInSlices,
  encodePredict,
  encodePredictInSlices,
  encodeRegress,
  encodeRegressInSlices,
  modelMetadataBody,
  modelStatusBody,
  predictNeedsSlices,
  TfServingBody,
} from '../../../protocol/tfserving/rest.ts';
import { SwitchyardError } from '../../../shared/errors.ts';
import type { HttpExchange, RequestHead } from '../socket.ts';
import { JSON_HEADERS } from '../status.ts';
import { InferenceCall } from './inference-call.ts';
import { findLabel, findModel, findVersion } from './lookup.ts';
import type { Route } from './routes.ts';
import type { HttpGateway } from './settings.ts';

/** TF Serving's `:predict`, `:classify` and `:regress`. */
export class TfServingCall extends InferenceCall implements DecodeListener<PredictRequest> {
  protected override readonly protocol = 'tfs-http';
  protected override readonly needsSignature = true;
  private readonly kind: Route['kind'];
  private readonly label: string;
  private format: 'row' | 'column' = 'row';
  private signature: ModelSignature | undefined;

  constructor(gateway: HttpGateway, exchange: HttpExchange, route: Route, head: RequestHead) {
    super(gateway, exchange, route, head);
    this.kind = route.kind;
    this.label = route.label;
  }

  protected override keepsBody(): boolean {
    return true;
  }

  protected override decode(body: Uint8Array): InferRequest | undefined {
    const table = this.gateway.services.table();
    const version = this.label === '' ? this.version : findLabel(table, this.model, this.label);
    const { signature } = findVersion(table, this.model, version).config;
    this.signature = signature;
    const request = new TfServingBody(this.model, version, body, signature, this.kind !== 'tfs-predict');
    if (request.isForAside()) {
      request.decodeAside(this);
      return undefined;
    }
    const decoded = request.decode();
    this.format = decoded.format;
    return decoded.request;
  }

  wanted(): boolean {
    return !this.isDone();
  }

  onDecoded({ request, format }: PredictRequest): void {
    this.format = format;
    this.handOver(request);
  }

  onRefused(error: unknown): void {
    this.fail(error);
  }

  protected override answer(response: InferResponse, final: boolean): void {
    if (!final) {
      throw new SwitchyardError('unsupported', `model '${this.model}' gives several responses per request`);
    }
    const slices = this.slicesOf(response);
    if (slices !== undefined) this.inTurns(slices, (body) => this.complete(body, response));
    else this.complete(this.encode(response), response);
  }

  /** The answer in slices, where it is large. */
  private slicesOf(response: InferResponse): Generator<undefined, Uint8Array, undefined> | undefined {
    if (this.kind === 'tfs-classify') {
      return classesNeedSlices(response) ? encodeClassifyInSlices(response, this.signature!) : undefined;
    }
    if (!predictNeedsSlices(response)) return undefined;
    return this.kind === 'tfs-regress' ? encodeRegressInSlices(response) : encodePredictInSlices(response, this.format);
  }

  private complete(body: Uint8Array, response: InferResponse): void {
    this.finish();
    this.exchange.respond(200, JSON_HEADERS + this.answerLines(response), body);
  }

  private encode(response: InferResponse): Uint8Array {
    switch (this.kind) {
      case 'tfs-classify':
        return encodeClassify(response, this.signature!);
      case 'tfs-regress':
        return encodeRegress(response);
      default:
        return encodePredict(response, this.format);
    }
  }
}

/** `GET /v1/models/{m}…`: the asked version, or all known ones. Throws not_found. */
export function tfServingStatus(gateway: HttpGateway, route: Route): Record<string, unknown> {
  const table = gateway.services.table();
  const model = findModel(table, route.model);
  const version = route.label === '' ? route.version : findLabel(table, route.model, route.label);
  let statuses: readonly VersionStatus[] = model.index;
  if (version !== '') {
    statuses = statuses.filter((status) => status.version === version);
    if (statuses.length === 0) {
      throw new SwitchyardError('not_found', `model '${route.model}' has no version ${version}`);
    }
  }
  return modelStatusBody(statuses);
}

/** `GET /v1/models/{m}…/metadata`. Throws not_found and unavailable. */
export function tfServingMetadata(gateway: HttpGateway, route: Route): Record<string, unknown> {
  const table = gateway.services.table();
  const version = route.label === '' ? route.version : findLabel(table, route.model, route.label);
  const found = findVersion(table, route.model, version);
  return modelMetadataBody(found.model, found.version, found.config.signature);
}
