// The version before the bad ones: as quick as they are not, and always well.
export const execute = ({ image }) => {
  const rows = image.shape[0];
  return {
    label: { datatype: 'INT64', shape: [rows, 1], data: new BigInt64Array(rows).fill(3n) },
    probabilities: { datatype: 'FP32', shape: [rows, 10], data: new Float32Array(rows * 10).fill(0.1) },
  };
};
