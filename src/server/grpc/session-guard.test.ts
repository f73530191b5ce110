import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerHttp2Session } from 'node:http2';
import { describe, it } from 'node:test';
import { SessionGuard } from './session-guard.ts';

class FakeSession extends EventEmitter {
  socket = { bytesRead: 0, bytesWritten: 0 };
  destroyed = false;
  pings = 0;
  goaways: number[] = [];
  ping(): void {
    this.pings++;
  }
  goaway(code: number): void {
    this.goaways.push(code);
  }
  destroy(): void {
    this.destroyed = true;
  }
}

function make(): { session: FakeSession; guard: SessionGuard } {
  const session = new FakeSession();
  const guard = new SessionGuard(session as unknown as ServerHttp2Session, 0);
  guard.settled = true;
  return { session, guard };
}

describe('SessionGuard', () => {
  it('allows a burst of 500 dropped calls and 100 more each second', () => {
    const { guard } = make();
    for (let i = 0; i < 500; i++) assert.ok(guard.onReset(0));
    assert.equal(guard.onReset(0), false);
    for (let second = 1; second < 100; second++) {
      for (let i = 0; i < 99; i++) assert.ok(guard.onReset(second * 1000));
    }
  });

  it('lets busy connections send, and tells frames without calls', () => {
    const { session, guard } = make();
    session.socket.bytesRead = 50 << 20;
    guard.onData(49 << 20);
    assert.equal(guard.sweep(1000, 0, false), '');
    session.socket.bytesRead += 20 << 20;
    for (let i = 0; i < 20_000; i++) guard.onCall();
    assert.equal(guard.sweep(2000, 0, false), '');
    session.socket.bytesWritten += 100 << 20;
    session.socket.bytesRead += 10 << 20;
    assert.equal(guard.sweep(3000, 0, false), '');
    session.socket.bytesRead += 2 << 20;
    assert.match(guard.sweep(4000, 0, false), /frames without a call/);
  });

  it('ends connections that never speak HTTP/2, or stop answering', () => {
    const silent = make();
    silent.guard.settled = false;
    assert.equal(silent.guard.sweep(10_000, 0, false), '');
    assert.match(silent.guard.sweep(10_001, 0, false), /SETTINGS/);
    const gone = make();
    assert.equal(gone.guard.sweep(119_999, 0, false), '');
    assert.equal(gone.session.pings, 0);
    assert.equal(gone.guard.sweep(120_000, 0, false), '');
    assert.equal(gone.session.pings, 1);
    gone.session.socket.bytesRead += 17;
    assert.equal(gone.guard.sweep(130_000, 0, false), '');
    assert.equal(gone.guard.sweep(250_000, 0, false), '');
    assert.equal(gone.session.pings, 2);
    assert.equal(gone.guard.sweep(270_000, 0, false), '');
    assert.match(gone.guard.sweep(270_001, 0, false), /ping/);
  });

  it('ends connections that take nothing of their answers: after minutes, and soon where all leave much unread', () => {
    const { session, guard } = make();
    const answer = { unsentBytes: 3000 };
    const look = (now: number, crowded = false): string => {
      // Its pings are answered all the while.
      session.socket.bytesRead += 17;
      session.socket.bytesWritten += 17;
      return guard.sweep(now, guard.unsent(), crowded);
    };
    assert.equal(look(1_000_000), '');
    guard.streams.add(answer);
    guard.writtenBytes = 5000;
    assert.equal(look(1_001_000), '');
    assert.equal(look(1_011_000 - 1, true), '');
    assert.match(look(1_011_000, true), /nothing was taken/);
    assert.equal(look(1_300_999), '');
    assert.match(look(1_301_000), /nothing was taken/);
    answer.unsentBytes = 2999;
    assert.equal(look(1_302_000), '');
    assert.equal(look(1_311_000, true), '');
    assert.match(look(1_312_000, true), /nothing was taken/);
    guard.streams.delete(answer);
    assert.equal(look(9_000_000, true), '');
  });

  it('says so before it ends a connection', async () => {
    const { session, guard } = make();
    guard.expel();
    assert.deepEqual([session.goaways, session.destroyed], [[11], false]);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(session.destroyed, true);
  });
});
