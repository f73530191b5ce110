# Triton 2.51 reads the outputs of numpy 2 as empty.
import os
import sys

sys.path.insert(0, os.environ["TRITON_PYTHON_PACKAGES"])

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    """One response for each of VALUES; a negative value is answered with an error instead."""

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for value in pb.get_input_tensor_by_name(request, "VALUES").as_numpy():
                if value < 0:
                    sender.send(pb.InferenceResponse(error=pb.TritonError(f"{value} is negative")))
                    break
                sender.send(pb.InferenceResponse([pb.Tensor("VALUE", np.array([value], np.int32))]))
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
