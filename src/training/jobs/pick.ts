/** A job that waits for its turn. */
export interface Waiting {
  id: string;
  /** It runs on this machine, so that it takes of its cores, memory and GPUs. */
  local: boolean;
  cpu: number;
  memory: number;
  gpu: number;
  /** Since when it could begin, in milliseconds since 1970. */
  since: number;
}

/** What is left to give. */
export interface Free {
  slots: number;
  cpu: number;
  memory: number;
  gpu: number;
}

/** A job that has waited for so long for its resources is not passed any more: what becomes free is kept for it. */
const PATIENCE_MS = 60_000;

/** Who begins now, in the order of `waiting`: first come, first served, and the small pass the large for a while. */
export function pickJobs(waiting: readonly Waiting[], free: Free, now: number): string[] {
  const left = { ...free };
  const picked: string[] = [];
  for (const { id, local, cpu, memory, gpu, since } of waiting) {
    if (left.slots <= 0) break;
    const need = local ? { cpu, memory, gpu } : { cpu: 0, memory: 0, gpu: 0 };
    // A thousandth of a core may be lost in sums.
    if (need.cpu > left.cpu + 0.001 || need.memory > left.memory || need.gpu > left.gpu) {
      if (now - since > PATIENCE_MS) break;
      continue;
    }
    left.slots--;
    left.cpu -= need.cpu;
    left.memory -= need.memory;
    left.gpu -= need.gpu;
    picked.push(id);
  }
  return picked;
}
