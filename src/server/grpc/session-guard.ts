import { constants, type ServerHttp2Session } from 'node:http2';

/** Calls a client may drop unanswered in one burst, and how many per second it earns back. */
const RESET_BURST = 500;
const RESETS_PER_SECOND = 100;

/** Bytes of frames other than DATA a session may send in one sweep, and what each new call adds to that. */
const FREE_CONTROL_BYTES = 1 << 20;
const CONTROL_BYTES_PER_CALL = 32768;

const SETTINGS_DEADLINE_MS = 10_000;
const PING_AFTER_MS = 120_000;
const PING_DEADLINE_MS = 20_000;

/** How long a client may take nothing of the answers that wait for it; and where all clients leave much unread. */
const PATIENCE_MS = 300_000;
const CROWDED_PATIENCE_MS = 10_000;

/** Answers that wait on a connection. */
export interface Unsent {
  readonly unsentBytes: number;
}

/**
 * What one connection has done lately. Node bounds header lists, CONTINUATION and SETTINGS by itself; this bounds what it
 * does not: calls opened only to be reset, and frames (WINDOW_UPDATE, PING, PRIORITY) that carry no call at all.
 */
export class SessionGuard {
  readonly session: ServerHttp2Session;
  settled = false;
  /** Open streams of the connection, and bytes of answers given to any. */
  readonly streams = new Set<Unsent>();
  writtenBytes = 0;
  private readonly bornAt: number;
  private tokens = RESET_BURST;
  private refilledAt: number;
  private opened = 0;
  private dataBytes = 0;
  private seenBytes = 0;
  private seenSent = 0;
  private lastHeard: number;
  private pingedAt = 0;
  private seenTaken = 0;
  /** When an answer was taken last, or none waited. */
  private takenAt: number;

  constructor(session: ServerHttp2Session, now: number) {
    this.session = session;
    this.bornAt = now;
    this.refilledAt = now;
    this.lastHeard = now;
    this.takenAt = now;
  }

  onCall(): void {
    this.opened++;
  }

  onData(bytes: number): void {
    this.dataBytes += bytes;
  }

  /** A call ended without having been answered. False: one too many, the connection must go. */
  onReset(now: number): boolean {
    this.tokens = Math.min(RESET_BURST, this.tokens + ((now - this.refilledAt) / 1000) * RESETS_PER_SECOND);
    this.refilledAt = now;
    this.tokens -= 1;
    return this.tokens >= 0;
  }

  /** Bytes of answers that the client has not taken. */
  unsent(): number {
    let bytes = 0;
    for (const stream of this.streams) bytes += stream.unsentBytes;
    return bytes;
  }

  /**
   * Looks at the time since the last sweep. Returns why the connection must go, or ''.
   * @param unsent as `unsent` tells
   * @param crowded all connections together leave more unread than the server likes to hold
   */
  sweep(now: number, unsent: number, crowded: boolean): string {
    if (!this.settled && now - this.bornAt > SETTINGS_DEADLINE_MS) return 'no SETTINGS frame came';
    const socket = this.session.socket;
    const received = socket?.bytesRead ?? 0;
    const sent = socket?.bytesWritten ?? 0;
    const control = received - this.seenBytes - this.dataBytes;
    // A frame header takes 9 bytes and the smallest useful DATA frame a few: framing may double the payload. A client
    // that reads answers sends window updates in proportion to them.
    const allowed =
      FREE_CONTROL_BYTES + this.opened * CONTROL_BYTES_PER_CALL + this.dataBytes * 2 + (sent - this.seenSent);
    if (received !== this.seenBytes) this.lastHeard = now;
    this.seenBytes = received;
    this.seenSent = sent;
    this.opened = 0;
    this.dataBytes = 0;
    if (control > allowed) return `${control} bytes of frames without a call`;
    const patience = crowded ? CROWDED_PATIENCE_MS : PATIENCE_MS;
    if (this.idleFor(now, unsent) >= patience) return 'nothing was taken of the answers that wait';
    return this.keepAlive(now);
  }

  private idleFor(now: number, unsent: number): number {
    const taken = this.writtenBytes - unsent;
    if (unsent === 0 || taken !== this.seenTaken) this.takenAt = now;
    this.seenTaken = taken;
    return now - this.takenAt;
  }

  private keepAlive(now: number): string {
    if (now - this.lastHeard < PING_AFTER_MS) {
      this.pingedAt = 0;
      return '';
    }
    if (this.pingedAt === 0) {
      this.pingedAt = now;
      if (!this.session.destroyed) this.session.ping(() => undefined);
      return '';
    }
    return now - this.pingedAt > PING_DEADLINE_MS ? 'no answer to a keepalive ping' : '';
  }

  /** Ends the connection, telling the client that it asked too much. */
  expel(): void {
    if (this.session.destroyed) return;
    this.session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    // The frame gets one turn of the loop to leave.
    setImmediate(destroy, this.session);
  }
}

function destroy(session: ServerHttp2Session): void {
  if (!session.destroyed) session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
}
