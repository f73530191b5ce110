import { Agent, request } from 'node:http';
import { seededRandom } from '../../src/monitoring/statistics/interval.ts';
import type { Point } from './timeline.ts';

export interface Digit {
  /** Tells it from other digits, whatever was done to its pixels. */
  name: string;
  pixels: number[];
  label: number;
}

const WORKERS = 6;
/** A pause of each worker after an answer: users of a demo, not a benchmark. */
const PAUSE_MS = 12;
const LABELS_EVERY_MS = 400;

/**
 * Users who send digits and tell afterwards what they were. What they send and how can be changed while they do; how
 * often the answer was right is kept by second.
 */
export class DigitStream {
  digits: readonly Digit[];
  /** What becomes of the pixels on their way. */
  change: (pixels: readonly number[]) => readonly number[] = (pixels) => pixels;
  answered = 0;
  failed = 0;
  private readonly port: number;
  private readonly began: number;
  private readonly agent = new Agent({ keepAlive: true, maxSockets: WORKERS + 1 });
  private readonly seconds = new Map<number, { right: number; all: number }>();
  private labels: object[] = [];
  private running = true;
  private work: Promise<unknown> = Promise.resolve();
  /** Digits come in any order: those of the data set lie writer by writer. */
  private readonly random = seededRandom(17);

  constructor(port: number, digits: readonly Digit[], began: number) {
    this.port = port;
    this.digits = digits;
    this.began = began;
  }

  start(): void {
    this.work = Promise.all([...Array.from({ length: WORKERS }, () => this.ask()), this.tell()]);
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.work;
    this.agent.destroy();
  }

  /** Accuracy by second. */
  points(): Point[] {
    return [...this.seconds].sort(([a], [b]) => a - b).map(([at, { right, all }]) => ({ at, value: right / all }));
  }

  /** Of all answers since a second. */
  accuracySince(second: number): { accuracy: number; answers: number } {
    let right = 0;
    let all = 0;
    for (const [at, counts] of this.seconds) {
      if (at < second) continue;
      right += counts.right;
      all += counts.all;
    }
    return { accuracy: right / all, answers: all };
  }

  private async ask(): Promise<void> {
    while (this.running) {
      const digit = this.digits[Math.floor(this.random() * this.digits.length)];
      const body = JSON.stringify({
        parameters: { digit: digit.name },
        inputs: [{ name: 'image', datatype: 'FP32', shape: [1, 64], data: this.change(digit.pixels) }],
      });
      try {
        const { id, text } = await this.post('/v2/models/digits/infer', body);
        const answer = JSON.parse(text) as { outputs: { name: string; data: number[] }[] };
        const said = answer.outputs.find(({ name }) => name === 'label')?.data[0];
        this.answered++;
        const second = Math.floor((performance.now() - this.began) / 1000);
        const counts = this.seconds.get(second) ?? { right: 0, all: 0 };
        counts.all++;
        if (said === digit.label) counts.right++;
        this.seconds.set(second, counts);
        this.labels.push({ id, model: 'digits', label: digit.label });
      } catch {
        this.failed++;
      }
      await pause(PAUSE_MS);
    }
  }

  private async tell(): Promise<void> {
    while (this.running) {
      await pause(LABELS_EVERY_MS);
      const events = this.labels.splice(0);
      if (events.length === 0) continue;
      try {
        await this.post('/switchyard/v1/feedback', JSON.stringify({ events }));
      } catch {
        this.failed++;
      }
    }
  }

  private post(path: string, body: string): Promise<{ id: string; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const sent = request(
        { host: '127.0.0.1', port: this.port, agent: this.agent, method: 'POST', path, headers },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (part: string) => {
            text += part;
          });
          response.on('error', reject);
          response.on('end', () => {
            if (response.statusCode === 200) resolve({ id: String(response.headers['x-switchyard-id'] ?? ''), text });
            else reject(new Error(`${path} answered ${response.statusCode}: ${text.slice(0, 200)}`));
          });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
