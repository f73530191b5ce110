# Triton 2.51 reads the outputs of numpy 2 as empty.
import os
import sys

sys.path.insert(0, os.environ["TRITON_PYTHON_PACKAGES"])

import time

import triton_python_backend_utils as pb


class TritonPythonModel:
    """Sleeps for MILLISECONDS; a negative number is an error."""

    def execute(self, requests):
        responses = []
        for request in requests:
            milliseconds = pb.get_input_tensor_by_name(request, "MILLISECONDS").as_numpy()
            if milliseconds[0] < 0:
                responses.append(pb.InferenceResponse(error=pb.TritonError("nobody sleeps backwards")))
                continue
            time.sleep(milliseconds[0] / 1000)
            responses.append(pb.InferenceResponse([pb.Tensor("SLEPT", milliseconds)]))
        return responses
