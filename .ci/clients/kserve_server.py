"""A real KServe ModelServer with one model, y = 3 x, which refuses a negative value: kserve_server.py <http> <grpc>."""

import sys

from grpc.aio import _server
import numpy as np
import uvicorn
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput


class Scale(Model):
    def __init__(self):
        super().__init__("scale")
        self.ready = True

    async def get_input_types(self):
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]

    async def get_output_types(self):
        return [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]

    async def predict(self, payload: InferRequest, headers=None, response_headers=None):
        x = payload.inputs[0].as_numpy()
        if (x < 0).any():
            raise InvalidInput("x is negative")
        output = InferOutput("y", list(x.shape), "FP32")
        output.set_data_from_numpy((x * 3).astype(np.float32), binary_data=True)
        return InferResponse(payload.id or "", self.name, [output])


# KServe listens on every address; a server under test shall not.
configure, add_port = uvicorn.Config.__init__, _server.Server.add_insecure_port
uvicorn.Config.__init__ = lambda self, *args, **options: configure(self, *args, **{**options, "host": "127.0.0.1"})
_server.Server.add_insecure_port = lambda self, address: add_port(self, address.replace("[::]", "127.0.0.1"))

http_port, grpc_port = map(int, sys.argv[1:])
ModelServer(http_port=http_port, grpc_port=grpc_port, workers=1, enable_grpc=True, enable_docs_url=False).start([Scale()])
