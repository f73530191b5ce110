import type { FeatureValue } from '../documents/values.ts';
import { applyTransform } from '../transforms/apply.ts';
import type { InputMatrix } from './elements.ts';
import type { PlannedInput } from './plan.ts';

/** An input whose columns a transform makes: takes the features of all rows first, then fills the matrix. */
export class TransformInput {
  private readonly matrix: InputMatrix;
  private readonly transform: NonNullable<PlannedInput['transform']>;
  private readonly rows: number;
  private readonly name: string;
  private readonly cells: FeatureValue[];

  constructor(matrix: InputMatrix, transform: NonNullable<PlannedInput['transform']>, rows: number, name: string) {
    this.matrix = matrix;
    this.transform = transform;
    this.rows = rows;
    this.name = name;
    this.cells = new Array<FeatureValue>(rows * transform.features).fill(null);
  }

  set(row: number, feature: number, value: FeatureValue): void {
    this.cells[row * this.transform.features + feature] = value;
  }

  /** Throws invalid_argument where a value is none for its step. */
  finish(): void {
    const { fitted, steps, features } = this.transform;
    const columns: number[] = [];
    for (let row = 0; row < this.rows; row++) {
      applyTransform(fitted, (step) => this.cells[row * features + steps[step]], columns, 0);
      for (let i = 0; i < columns.length; i++) this.matrix.set(row, i, columns[i], `of input '${this.name}'`);
    }
  }
}
