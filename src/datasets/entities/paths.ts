/** Of datasets, in the registry's API. */
export const ROOT = '/api/v1/datasets';
export const VERSION = `${ROOT}/{name}/versions/{version}`;
