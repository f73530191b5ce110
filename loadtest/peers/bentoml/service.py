"""BentoML with adaptive batching over ONNX Runtime. Environment: MODEL, MAX_BATCH."""

import os

import bentoml
import numpy as np
import onnxruntime as ort


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Mlp:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api(batchable=True, max_batch_size=int(os.environ.get("MAX_BATCH", "64")), max_latency_ms=10_000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": x.astype(np.float32, copy=False)})[0]
