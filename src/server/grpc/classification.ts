import type { InferRequest, InferResponse, ServingTable } from '../../pipeline/types.ts';
import { applyClassification } from '../../protocol/v2/classification.ts';

export function wantsClassification(request: InferRequest): boolean {
  const outputs = request.outputs;
  for (let i = 0; i < outputs.length; i++) if (outputs[i].classification > 0) return true;
  return false;
}

/** The response with each output that was asked for as classes turned into "score:index:label" strings. */
export function classify(table: ServingTable, request: InferRequest, response: InferResponse): InferResponse {
  const versions = table.models.get(response.model)?.versions;
  const signature = versions?.find((candidate) => candidate.version === response.version)?.config.signature;
  const batched = signature !== undefined && signature.maxBatchSize > 0;
  const outputs = response.outputs.map((output) => {
    const wanted = request.outputs.find((requested) => requested.name === output.name);
    if (wanted === undefined || wanted.classification === 0) return output;
    const labels = signature?.outputs.find((spec) => spec.name === output.name)?.labels;
    return applyClassification(output, wanted.classification, labels, batched);
  });
  return { ...response, outputs };
}
