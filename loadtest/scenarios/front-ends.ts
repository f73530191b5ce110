import { join } from 'node:path';
import { type Contestant, type Drive, ServerContestant, SharedServer } from '../contestant.ts';
import { h2loadGrpc } from '../generators/h2load.ts';
import { wrk } from '../generators/wrk.ts';
import { SMALL_MLP } from '../mlp-model.ts';
import { grpcFrame, grpcMessage } from '../payloads.ts';
import { playRounds, type Series } from '../rounds.ts';
import { type Metric, makeWorkload, type Panel, rate, ratioOf, type Scenario, type Settings } from '../scenario.ts';
import { median } from '../statistics.ts';
import { bareUws, emptyGrpc } from '../targets/limits.ts';
import { PEERS } from '../targets/peers.ts';
import { EVERYTHING_ON, everythingOn, switchyard } from '../targets/switchyard.ts';
import type { Target, Wire, Workload } from '../targets/target.ts';

const MAX_BATCH = 64;

/** Closed-loop wrk against whatever the target takes on this wire. */
export function driveHttp(
  target: Target,
  workload: Workload,
  wire: 'json' | 'binary',
  connections: number,
  paths?: readonly string[],
): Drive {
  const request = target.request(wire, workload);
  return (server, _probed, seconds) =>
    wrk(server.ports.http, request, { connections, seconds }, workload.scratch, paths);
}

/** Closed-loop h2load. */
export function driveGrpc(target: Target, workload: Workload, connections: number, streams: number): Drive {
  const { tls } = target;
  const frame = grpcFrame(grpcMessage(workload.model, workload.row));
  return (server, probed, seconds) =>
    h2loadGrpc(server.ports.grpc, frame, probed.answerBytes, { connections, streams, seconds, tls }, workload.scratch);
}

export const smallJson = smallModel('small-json', 'json', 'a 16-64-64-4 MLP, v2 JSON over HTTP/1.1', (series) => [
  ...besideLimit(series, 'bare-uws', 'of bare uWebSockets.js answering the same POST', 0.55, 0.75),
  ...bestPeerRatio(series),
  ...ratioOf(series, 'switchyard', 'triton', "of Triton's HTTP front end with its Python backend", { atLeast: 3 }),
]);

export const smallBinary = smallModel('small-binary', 'binary', 'the same MLP, v2 binary tensors', (series) => [
  ...besideLimit(series, 'bare-uws', 'of bare uWebSockets.js answering the same POST', undefined, 0.8),
  ...ratioOf(series, 'switchyard', 'triton', "of Triton's HTTP front end with its Python backend"),
]);

export const smallGrpc = smallModel('small-grpc', 'grpc', 'the same MLP, v2 gRPC with raw contents', (series) => [
  ...besideLimit(series, 'empty-grpc-js', 'of an empty @grpc/grpc-js unary handler', 0.9, 4),
  ...ratioOf(series, EVERYTHING_ON, 'triton', "everything on, of Triton's gRPC front end with its Python backend", {
    atLeast: 5,
  }),
]);

/** As it starts, and with routing and records besides. */
function besideLimit(
  series: readonly Series[],
  limit: string,
  text: string,
  plain: number | undefined,
  everything: number,
): Panel['comparisons'] {
  return [
    ...ratioOf(series, 'switchyard', limit, text, plain === undefined ? undefined : { atLeast: plain }),
    ...ratioOf(series, EVERYTHING_ON, limit, `everything on, ${text}`, { atLeast: everything }),
  ];
}

function smallModel(
  name: string,
  wire: Wire,
  description: string,
  compare: (series: Series[]) => Panel['comparisons'],
): Scenario {
  return {
    name,
    description: `Closed loop: ${description}, dynamic batching up to ${MAX_BATCH}.`,
    async run(settings) {
      const panels: Panel[] = [];
      const notes: string[] = [];
      for (const connections of settings.quick ? [64] : [64, 256]) {
        settings.say(`${name}, ${connections} in flight`);
        const workload = await makeWorkload(join(settings.scratch, `${name}-${connections}`), SMALL_MLP, MAX_BATCH);
        const { series, absent } = await playRounds(
          lineUp(workload, wire, connections, settings),
          settings.rounds,
          settings.say,
        );
        const title = wire === 'grpc' ? `${connections} streams on 8 connections` : `${connections} connections`;
        panels.push({ title, counts: 'requests', series, comparisons: compare(series) });
        notes.push(...absent.map((a) => `${a.name} could not be measured: ${a.reason.split('\n')[0]}`));
      }
      return { name, description: this.description, panels, notes };
    },
  };
}

function lineUp(workload: Workload, wire: Wire, inFlight: number, settings: Settings): Contestant[] {
  const limit = wire === 'grpc' ? emptyGrpc() : bareUws(wire);
  const peers = settings.peers
    .map((peer) => PEERS[peer]())
    .filter((peer) => peer.wires.includes(wire))
    // One that starts afresh for each measurement takes longer than all others together: it is measured once.
    .filter((peer) => inFlight <= 64 || peer.idle !== 'restart');
  return [switchyard(), everythingOn(workload.model), limit, ...peers].map((target) => {
    const drive =
      wire === 'grpc' ? driveGrpc(target, workload, 8, inFlight / 8) : driveHttp(target, workload, wire, inFlight);
    return new ServerContestant(new SharedServer(target, workload), wire, drive, settings.timing);
  });
}

/** Against the fastest server written in Python, Triton's C++ front end not being one. */
function bestPeerRatio(series: Series[]): Panel['comparisons'] {
  const middle = (s: Series, metric: Metric): number => median(s.rounds.map(metric));
  const python = series.filter((s) => s.role === 'peer' && s.name !== 'triton');
  if (python.length === 0) return [];
  const best = python.reduce((a, b) => (middle(b, rate) > middle(a, rate) ? b : a));
  return ratioOf(series, 'switchyard', best.name, `of ${best.name}, the fastest Python server`, { atLeast: 30 });
}
