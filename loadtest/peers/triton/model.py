"""Triton Python-backend model over ONNX Runtime. Parameter `model`: the ONNX file."""
import os, sys; sys.path.insert(0, os.environ["TRITON_PEER_PACKAGES"])  # numpy 2 gives Triton 2.51 empty outputs

import json

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = config["parameters"]["model"]["string_value"]
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        rows = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        (y,) = self.session.run(None, {"x": rows[0] if len(rows) == 1 else np.concatenate(rows)})
        responses, start = [], 0
        for part in rows:
            piece = np.ascontiguousarray(y[start : start + len(part)])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", piece)]))
            start += len(part)
        return responses
