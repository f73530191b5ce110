import { ERROR_TABLE, type ErrorCode } from '../shared/errors.ts';
import type { AdminRoute, Role, Schema } from './route.ts';

const ERROR_SCHEMA: Schema = {
  type: 'object',
  required: ['error', 'code'],
  properties: {
    error: { type: 'string', description: 'What is wrong, what is allowed and the next step' },
    code: { type: 'string', enum: Object.keys(ERROR_TABLE) },
  },
};

/** An empty requirement: without a configured token the loopback port takes requests without one. */
const SECURITY: Readonly<Record<Role, object[]>> = {
  public: [],
  operator: [{ adminToken: [] }, {}],
  signed: [{ signature: [] }, { githubSignature: [] }],
};

export interface OpenApiDocument extends Record<string, unknown> {
  paths: Record<string, Record<string, unknown>>;
}

/** The OpenAPI 3.1 description of a route table. */
export function openApiDocument(routes: readonly AdminRoute[], version: string): OpenApiDocument {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    paths[route.path][route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Switchyard admin API', version },
    paths,
    components: {
      schemas: { Error: ERROR_SCHEMA },
      securitySchemes: {
        adminToken: { type: 'http', scheme: 'bearer', description: 'server.adminToken, when it is configured' },
        signature: {
          type: 'apiKey',
          in: 'header',
          name: 'X-Switchyard-Signature',
          description: 'v1,<base64 of HMAC-SHA256 over delivery.timestamp.body>',
        },
        githubSignature: {
          type: 'apiKey',
          in: 'header',
          name: 'X-Hub-Signature-256',
          description: 'sha256=<hex of HMAC-SHA256 over the body>',
        },
      },
    },
  };
}

function operation(route: AdminRoute): Record<string, unknown> {
  const content = { [route.contentType ?? 'application/json']: { schema: route.response } };
  return {
    operationId: route.operationId,
    summary: route.summary,
    security: SECURITY[route.role],
    parameters: [...pathParameters(route.path), ...queryParameters(route)],
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: route.bodyRequired ?? false,
            content: { 'application/json': { schema: route.body } },
          },
        }),
    responses: { '200': { description: 'OK', content }, ...errorResponses(route) },
  };
}

function pathParameters(path: string): object[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
}

function queryParameters(route: AdminRoute): object[] {
  return Object.entries(route.query ?? {}).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    ...(description === undefined ? {} : { description }),
    schema,
  }));
}

function errorResponses(route: AdminRoute): Record<string, object> {
  const codes: ErrorCode[] = ['invalid_argument', 'permission_denied', 'internal', ...(route.errors ?? [])];
  if (route.role === 'operator') codes.push('unauthenticated');
  const responses: Record<string, object> = {};
  for (const code of codes.toSorted((a, b) => ERROR_TABLE[a].http - ERROR_TABLE[b].http)) {
    const status = String(ERROR_TABLE[code].http);
    responses[status] ??= {
      description: code,
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
    };
  }
  return responses;
}
