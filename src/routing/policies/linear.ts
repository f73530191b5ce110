/** Small dense linear algebra of the contextual policies: row-major symmetric matrices in typed arrays. */

/** u = M x; returns xᵀ M x. */
export function multiply(m: ArrayLike<number>, x: ArrayLike<number>, u: Float64Array): number {
  const dim = x.length;
  let form = 0;
  for (let i = 0; i < dim; i++) {
    let sum = 0;
    for (let j = 0; j < dim; j++) sum += m[i * dim + j] * x[j];
    u[i] = sum;
    form += sum * x[i];
  }
  return form;
}

/** (A + x xᵀ)⁻¹ from A⁻¹, in place, by Sherman and Morrison. `u` is scratch of the dimension. */
export function rankOneUpdate(inverse: Float64Array, x: ArrayLike<number>, u: Float64Array): void {
  const scale = 1 / (1 + multiply(inverse, x, u));
  const dim = x.length;
  for (let i = 0; i < dim; i++) {
    // Both halves get the same number, so that rounding cannot make it unsymmetric.
    for (let j = 0; j <= i; j++) {
      const value = inverse[i * dim + j] - scale * u[i] * u[j];
      inverse[i * dim + j] = value;
      inverse[j * dim + i] = value;
    }
  }
}

/** A⁻¹ by Cholesky factors. Undefined if A is not positive definite. */
export function invert(a: ArrayLike<number>, dim: number): Float64Array | undefined {
  const l = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * dim + j];
      for (let k = 0; k < j; k++) sum -= l[i * dim + k] * l[j * dim + k];
      if (i !== j) l[i * dim + j] = sum / l[j * dim + j];
      else if (sum > 0) l[i * dim + i] = Math.sqrt(sum);
      else return undefined;
    }
  }
  // L⁻¹, then A⁻¹ = L⁻ᵀ L⁻¹.
  const m = new Float64Array(dim * dim);
  for (let j = 0; j < dim; j++) {
    for (let i = j; i < dim; i++) {
      let sum = i === j ? 1 : 0;
      for (let k = j; k < i; k++) sum -= l[i * dim + k] * m[k * dim + j];
      m[i * dim + j] = sum / l[i * dim + i];
    }
  }
  const inverse = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = i; k < dim; k++) sum += m[k * dim + i] * m[k * dim + j];
      inverse[i * dim + j] = inverse[j * dim + i] = sum;
    }
  }
  return inverse;
}
