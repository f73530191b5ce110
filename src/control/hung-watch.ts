import { type OverdueRun, RunMark } from '../executor/run-mark.ts';

/** Whether an executor hangs, told by looking at its mark again and again. */
export class HungWatch {
  private readonly mark: RunMark;
  /** When the run that was overdue at the last look had begun; 0: none was. */
  private suspected = 0;

  constructor(mark: SharedArrayBuffer) {
    this.mark = new RunMark(mark);
  }

  /** The run that is overdue at the second look in a row: after one, this whole process may just have been stopped for a while. */
  look(now: number): OverdueRun | undefined {
    const run = this.mark.overdue(now);
    const sure = run !== undefined && this.suspected === run.begun;
    this.suspected = run?.begun ?? 0;
    return sure ? run : undefined;
  }
}
