# Triton 2.51 reads the outputs of numpy 2 as empty.
import os
import sys

sys.path.insert(0, os.environ["TRITON_PYTHON_PACKAGES"])

import triton_python_backend_utils as pb


class TritonPythonModel:
    """Answers its input."""

    def execute(self, requests):
        inputs = [pb.get_input_tensor_by_name(request, "INPUT").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("OUTPUT", values)]) for values in inputs]
