/** What the server tells a supervisor, through its standard input: it holds secrets, so no file ever has it. */
export interface SupervisorOrder {
  /** The folder of attempts, and the attempt's name in it. */
  root: string;
  name: string;
  workDir: string;
  /** Program and arguments; no shell is between. */
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  secrets: readonly string[];
  /** How many processes of `argv` run, each with its rank in the environment. */
  processes: number;
  limits: {
    /** Of all processes together. */
    memoryBytes: number;
    /** Of the work folder. */
    diskBytes: number;
    /** The job ends when its disk has less left. */
    minFreeBytes: number;
    logBytes: number;
    timeoutMs: number;
    graceMs: number;
    /** 0 to 19. */
    nice: number;
  };
}
