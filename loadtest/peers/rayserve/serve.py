"""Ray Serve with dynamic batching over ONNX Runtime. Environment: MODEL, PORT, MAX_BATCH, BATCH_WAIT_MS."""

import os
import signal

import numpy as np
import onnxruntime as ort
import ray
from ray import serve
from starlette.requests import Request

MAX_BATCH = int(os.environ["MAX_BATCH"])
WAIT_S = float(os.environ["BATCH_WAIT_MS"]) / 1000


@serve.deployment(max_ongoing_requests=1024, ray_actor_options={"num_cpus": 1})
class Mlp:
    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_S)
    async def predict(self, rows: list[list[float]]) -> list[list[float]]:
        return self.session.run(None, {"x": np.asarray(rows, dtype=np.float32)})[0].tolist()

    async def __call__(self, request: Request) -> dict:
        return {"y": await self.predict((await request.json())["x"])}


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2, logging_level="ERROR", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])}, logging_config={"enable_access_log": False})
    serve.run(Mlp.bind(os.environ["MODEL"]), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
