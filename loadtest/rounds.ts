import type { Contestant } from './contestant.ts';
import type { Measurement } from './generators/measurement.ts';

/** All measurements of one contestant, by round. */
export interface Series {
  name: string;
  role: Contestant['role'];
  rounds: Measurement[];
}

/** Order of a round: everyone once, starting one further each time, so that no one always follows the same other. */
export function roundOrder(count: number, round: number): number[] {
  return Array.from({ length: count }, (_, i) => (i + round) % count);
}

/**
 * Plays interleaved rounds. A contestant that cannot be opened is left out and its reason reported through `say`, unless
 * it is the subject or a limit, without which the scenario means nothing: then this throws.
 */
export async function playRounds(
  contestants: readonly Contestant[],
  rounds: number,
  say: (line: string) => void,
): Promise<{ series: Series[]; absent: { name: string; reason: string }[] }> {
  const present: Contestant[] = [];
  const absent: { name: string; reason: string }[] = [];
  try {
    for (const contestant of contestants) {
      try {
        await contestant.open();
        present.push(contestant);
      } catch (error) {
        await contestant.close();
        const reason = (error as Error).message;
        if (contestant.role !== 'peer') throw error;
        absent.push({ name: contestant.name, reason });
        say(`  ${contestant.name} left out: ${reason}`);
      }
    }
    const series: Series[] = present.map(({ name, role }) => ({ name, role, rounds: [] }));
    for (let round = 0; round < rounds; round++) {
      for (const i of roundOrder(present.length, round)) {
        const m = await present[i].turn();
        series[i].rounds.push(m);
        const rate = Math.round(m.succeeded / m.seconds).toLocaleString('en');
        say(`  round ${round + 1}/${rounds}  ${present[i].name.padEnd(18)} ${rate.padStart(9)}/s`);
      }
    }
    return { series, absent };
  } finally {
    for (const contestant of present) await contestant.close();
  }
}
