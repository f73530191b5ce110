import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { parseBody, readBody, validate } from '../../registry/rest/request.ts';
import type { RestRoute } from '../../registry/rest/route.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { datasetArrays } from '../tensors/dataset-arrays.ts';
import { encodeSpec } from '../tensors/encode.ts';
import { npz } from '../tensors/npz.ts';
import type { Datasets } from './datasets.ts';
import { readVersion } from './fields.ts';
import { VERSION } from './paths.ts';

const MAX_BODY_BYTES = 1024 * 1024;
const wish = z.object({ inputs: z.array(encodeSpec).min(1).max(100) });

/** Whole datasets as arrays. */
export function arrayRoutes({ datasets, connectors }: { datasets: Datasets; connectors: Connectors }): RestRoute[] {
  return [
    {
      method: 'POST',
      path: `${VERSION}/npz`,
      operationId: 'downloadDatasetArrays',
      summary: 'All rows as NumPy arrays, an .npz with one for each input: {"inputs": […]} as for tensors',
      stream: async ({ params, request, contentLength, response, actor }) => {
        const { inputs } = validate(wish, parseBody(await readBody(request, contentLength, MAX_BODY_BYTES)));
        const by = { actor };
        const { name } = params;
        const { version, source, rows, schema } = await datasets.get(name, readVersion(params.version), by);
        const { columns } = await datasets.profile(name, version, by);
        const arrays = await datasetArrays(
          {
            schema,
            rows,
            columns,
            open: () => datasets.open(name, version, by),
            maxPixels: connectors.maxImagePixels,
            picture: (path) => connectors.picture(source, path),
          },
          inputs,
        );
        const bytes = npz(arrays);
        // Names are checked when the first bytes are asked for: before the answer's head.
        const first = await bytes.next();
        response.writeHead(200, {
          'Content-Type': 'application/zip',
          'X-Content-Type-Options': 'nosniff',
          'Content-Disposition': `attachment; filename="${name.replace(/[^\w.-]/g, '_')}.npz"`,
        });
        await pipeline(Readable.from(continued(first, bytes), { objectMode: false }), response);
      },
    },
  ];
}

async function* continued<T>(first: IteratorResult<T>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  if (first.done !== true) yield first.value;
  yield* rest;
}
