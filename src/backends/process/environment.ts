/**
 * What could change how the child's code is loaded, or is a secret of the gateway that a model has no use for. How ONNX
 * Runtime is reached (SWITCHYARD_ONNX_…) is neither: a child runs a model as its gateway does.
 */
const DENIED =
  /^(LD_PRELOAD|LD_AUDIT|LD_DEBUG|NODE_OPTIONS|NODE_REPL_.*|NODE_CHANNEL_.*|SWITCHYARD_(?!ONNX_).*|AWS_.*|AZURE_.*|GOOGLE_.*|KUBERNETES_.*|npm_config_.*)$|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE_?KEY|DATABASE_URL|REDIS_URL/i;

/** A child's environment: the given one without loader hooks and without anything that looks like a secret. */
export function childEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const clean: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(environment)) {
    if (!DENIED.test(name)) clean[name] = value;
  }
  return clean;
}
