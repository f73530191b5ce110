import { parseRoutes } from '../../src/config/load-routes.ts';
import { RouteRecorder } from '../../src/gateway/route-recorder.ts';
import type { GatewayDataPlane } from '../../src/pipeline/data-plane.ts';
import { RoutedDataPlane } from '../../src/pipeline/routed/routed-data-plane.ts';
import type {
  DataPlane,
  InferRequest,
  InferResponse,
  RequestContext,
  RequestHeaders,
  ResponseObserver,
} from '../../src/pipeline/types.ts';
import { monotonicMs, steadyOffset, steadyTime } from '../../src/shared/clock.ts';
import { RequestIds } from '../../src/shared/ids.ts';
import { manyRoutes } from './decide-cost.ts';

/** Takes a report now and then, as a gateway thread does. */
const REPORT_EVERY = 1000;

const SUBMISSION = { cancel() {} };

/** Answers at once: what is left is what stands in front of it. */
const constant = {
  inFlight: 0,
  infer(request: InferRequest, _context: RequestContext, observer: ResponseObserver) {
    const response = {
      model: request.model,
      version: '1',
      id: '',
      outputs: [],
      parameters: undefined,
      timings: undefined,
    };
    observer.onResponse(response as unknown as InferResponse, true);
    return SUBMISSION;
  },
} as unknown as GatewayDataPlane;

/** A class, and no closures: tsx names each of those, which costs more than what is measured. */
class UserHeaders implements RequestHeaders {
  private readonly user: string;

  constructor(user: string) {
    this.user = user;
  }

  header(name: string): string | undefined {
    return name === 'x-user-id' ? this.user : name === 'x-region' ? 'eu-west' : undefined;
  }
}

/**
 * Processor time that routing adds to a request, in nanoseconds: deciding, the record, its sums, health and the retry
 * budget. Blocks with and without routes take turns; the median of their differences is left.
 * @param spread over how many of the routes requests are spread: all (nearly each begins a slice of its own in the
 *   report) or one (as in the load test)
 */
export function measureRequest(blocks: number, requests: number, spread: number): number {
  const recorder = new RouteRecorder(steadyOffset);
  const dependencies = {
    ids: new RequestIds(),
    random: Math.random,
    now: monotonicMs,
    wallClock: Date.now,
    steadyClock: steadyTime,
    taps: [recorder],
    shadowsUpTo: 1000,
  };
  const bare = new RoutedDataPlane(constant, dependencies);
  const routed = new RoutedDataPlane(constant, dependencies);
  routed.setRoutes(parseRoutes(manyRoutes()), new Map());
  const users = Array.from({ length: 256 }, (_, i) => `user-${i}`);
  const models = Array.from({ length: spread }, (_, i) => `m${(i * 7919) % 1000}`);
  let answered = 0;
  const observer: ResponseObserver = {
    onResponse: () => void answered++,
    onError: (error) => {
      throw error;
    },
  };
  const block = (plane: DataPlane): number => {
    const before = process.cpuUsage();
    for (let i = 0; i < requests; i++) {
      const headers = new UserHeaders(users[i & 255]);
      const context: RequestContext = {
        protocol: 'http',
        tenant: 'default',
        receivedAt: monotonicMs(),
        deadline: Number.POSITIVE_INFINITY,
        priority: 0,
        maxPriority: 0,
        traceparent: '',
        tracestate: '',
        path: '/v2/models/m/infer',
        headers,
        served: undefined,
      };
      const model = models[i % spread];
      plane.infer({ model, version: '', id: '', inputs: [], outputs: [], parameters: undefined }, context, observer);
      if (i % REPORT_EVERY === 0) recorder.take();
    }
    const { user, system } = process.cpuUsage(before);
    return ((user + system) * 1000) / requests;
  };
  for (let i = 0; i < 10; i++) for (const plane of [bare, routed]) block(plane);
  const differences = Array.from({ length: blocks }, () => block(routed) - block(bare)).sort((a, b) => a - b);
  bare.close();
  routed.close();
  if (answered === 0) throw new Error('nothing was answered');
  return differences[blocks >> 1];
}

if (process.argv[1] === import.meta.filename)
  for (const spread of [1, 1000])
    console.log(
      `requests to ${spread} of the 1,000 routes: routing adds ${measureRequest(41, 20_000, spread).toFixed(0)} ns of processor time to one`,
    );
