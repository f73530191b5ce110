"""A model for MLServer: y = 3 x; a negative value is refused."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Scale(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        if (x < 0).any():
            raise InferenceError("x is negative")
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", (x * 3).astype(np.float32))])
