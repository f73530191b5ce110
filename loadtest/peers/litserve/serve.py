"""LitServe with dynamic batching over ONNX Runtime. Environment: MODEL, PORT, MAX_BATCH, BATCH_WAIT_MS."""

import os

import litserve as ls
import numpy as np
import onnxruntime as ort


class Mlp(ls.LitAPI):
    def setup(self, device):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.asarray(request["x"], dtype=np.float32)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.session.run(None, {"x": x})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"y": output.tolist()}


if __name__ == "__main__":
    api = Mlp(max_batch_size=int(os.environ["MAX_BATCH"]), batch_timeout=float(os.environ["BATCH_WAIT_MS"]) / 1000)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
