import { z } from 'zod';
import { REGISTRY_ERRORS } from '../errors.ts';
import type { JsonRoute, RestRoute, StreamRoute } from './route.ts';

type Json = Record<string, unknown>;

const ERROR = {
  type: 'object',
  required: ['error_code', 'message'],
  properties: {
    error_code: { type: 'string', enum: Object.keys(REGISTRY_ERRORS) },
    message: { type: 'string', description: 'What is wrong, what is allowed and the next step' },
  },
};
const BYTES = { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } };

/** The OpenAPI paths of a route table; request schemas are those that requests are checked by. */
export function openApiPaths(routes: readonly RestRoute[]): Record<string, Record<string, Json>> {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll('*}', '}');
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operation(route);
  }
  return paths;
}

function operation(route: RestRoute): Json {
  const inPath = [...route.path.matchAll(/\{(\w+)\*?\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  return {
    operationId: route.operationId,
    summary: route.summary,
    tags: ['registry'],
    security: [{ adminToken: [] }, {}],
    ...('stream' in route ? streamParts(route, inPath) : jsonParts(route, inPath)),
  };
}

function streamParts(route: StreamRoute, inPath: Json[]): Json {
  const query = Object.entries(route.query ?? {}).map(([name, description]) => ({
    name,
    in: 'query',
    description,
    schema: { type: 'string' },
  }));
  return {
    parameters: [...inPath, ...query],
    ...(route.method === 'GET' || route.method === 'DELETE' ? {} : { requestBody: { content: BYTES } }),
    responses: { '200': { description: 'OK', content: BYTES }, ...errors() },
  };
}

function jsonParts(route: JsonRoute, inPath: Json[]): Json {
  const schema = z.toJSONSchema(route.request, { io: 'input', unrepresentable: 'any' }) as {
    properties?: Record<string, Json>;
    required?: string[];
  } & Json;
  delete schema.$schema;
  const named = new Set(inPath.map(({ name }) => name as string));
  const properties = Object.entries(schema.properties ?? {}).filter(([name]) => !named.has(name));
  const required = (schema.required ?? []).filter((name) => !named.has(name));
  const responses = {
    '200': { description: 'OK', content: { 'application/json': { schema: { type: 'object' } } } },
    ...errors(),
  };
  if (route.method === 'GET') {
    const query = properties.map(([name, field]) => ({
      name,
      in: 'query',
      required: required.includes(name),
      schema: field,
    }));
    return { parameters: [...inPath, ...query], responses };
  }
  const body = { type: 'object', properties: Object.fromEntries(properties), ...(required.length > 0 && { required }) };
  return {
    parameters: inPath,
    requestBody: { required: required.length > 0, content: { 'application/json': { schema: body } } },
    responses,
  };
}

function errors(): Json {
  const content = { 'application/json': { schema: ERROR } };
  return Object.fromEntries(
    [400, 401, 403, 404, 500, 503].map((status) => [
      String(status),
      {
        description: Object.entries(REGISTRY_ERRORS)
          .filter(([, { http }]) => http === status)
          .map(([name]) => name)
          .join(', '),
        content,
      },
    ]),
  );
}
