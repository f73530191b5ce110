# Triton 2.51 reads the outputs of numpy 2 as empty.
import os
import sys

sys.path.insert(0, os.environ["TRITON_PYTHON_PACKAGES"])

import triton_python_backend_utils as pb


class TritonPythonModel:
    """INPUT0 + INPUT1 and INPUT0 - INPUT1."""

    def execute(self, requests):
        responses = []
        for request in requests:
            a = pb.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            b = pb.get_input_tensor_by_name(request, "INPUT1").as_numpy()
            outputs = {"OUTPUT0": a + b, "OUTPUT1": a - b}
            wanted = [pb.Tensor(name, outputs[name]) for name in request.requested_output_names()]
            responses.append(pb.InferenceResponse(wanted))
        return responses
