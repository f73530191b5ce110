/** See migrations/0007-sweeps.ts. */
export interface SweepTables {
  sweeps: {
    sweep_id: string;
    name: string;
    document: string;
    status: string;
    outcome: string;
    reason: string;
    seed: number;
    run_id: string;
    experiment_id: string;
    idempotency_key: string | null;
    actor: string;
    created_at: number;
    ended_at: number | null;
  };
  sweep_trials: {
    sweep_id: string;
    number: number;
    params: string;
    bracket: number;
    status: string;
    reason: string;
    job_id: string | null;
    run_id: string | null;
    value: number | null;
    last_step: number;
    rungs: string;
    created_at: number;
    ended_at: number | null;
  };
}
