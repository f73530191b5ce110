"""KServe's own Python clients: v2 and v1 over REST, v2 over gRPC."""

import asyncio
import sys

import grpc
import httpx
import numpy as np
import pytest

# The SDK's import reads the command line as a model server's; pytest's own is not one.
arguments, sys.argv = sys.argv, sys.argv[:1]
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig

sys.argv = arguments

A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def request_for(model="simple", binary=False):
    inputs = []
    for name, data in (("INPUT0", A), ("INPUT1", B)):
        tensor = InferInput(name=name, shape=list(data.shape), datatype="INT32")
        tensor.set_data_from_numpy(data, binary_data=binary)
        inputs.append(tensor)
    return InferRequest(model_name=model, infer_inputs=inputs, request_id="kserve-1")


def rest(protocol, use):
    async def opened():
        async with InferenceRESTClient(RESTConfig(protocol=protocol, retries=0)) as client:
            return await use(client)

    return asyncio.run(opened())


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_rest_v2_infer(base_url, binary):
    answer = rest("v2", lambda client: client.infer(base_url, request_for(binary=binary), model_name="simple"))
    assert answer.id == "kserve-1"
    outputs = {output.name: output.as_numpy() for output in answer.outputs}
    np.testing.assert_array_equal(outputs["OUTPUT0"].reshape(1, 16), A + B)
    np.testing.assert_array_equal(outputs["OUTPUT1"].reshape(1, 16), A - B)


def test_rest_v2_health(base_url):
    assert rest("v2", lambda client: client.is_server_live(base_url)) is True
    assert rest("v2", lambda client: client.is_server_ready(base_url)) is True
    assert rest("v2", lambda client: client.is_model_ready(base_url, "simple")) is True
    assert rest("v2", lambda client: client.is_model_ready(base_url, "no_such_model")) is False


def test_rest_v2_error_text_reaches_the_caller(base_url):
    with pytest.raises(httpx.HTTPStatusError, match="no_such_model"):
        rest("v2", lambda client: client.infer(base_url, request_for("no_such_model"), model_name="no_such_model"))


def test_rest_v1(base_url):
    assert rest("v1", lambda client: client.is_server_live(base_url)) is True
    rows = [[0.5, 1.5, 2.5, 3.5]]
    answer = rest("v1", lambda client: client.infer(base_url, {"instances": rows}, model_name="identity_fp32"))
    assert answer == {"predictions": rows}


def test_models_are_listed(base_url):
    assert "simple" in httpx.get(f"{base_url}/v2/models").json()["models"]


def over_grpc(address, use):
    async def opened():
        async with InferenceGRPCClient(address) as client:
            return await use(client)

    return asyncio.run(opened())


def test_grpc_infer(grpc_address):
    answer = over_grpc(grpc_address, lambda client: client.infer(request_for()))
    outputs = {output.name: output.as_numpy() for output in answer.outputs}
    np.testing.assert_array_equal(outputs["OUTPUT0"].reshape(1, 16), A + B)


def test_grpc_health(grpc_address):
    assert over_grpc(grpc_address, lambda client: client.is_server_live()) is True
    assert over_grpc(grpc_address, lambda client: client.is_server_ready()) is True
    assert over_grpc(grpc_address, lambda client: client.is_model_ready("simple")) is True
    assert over_grpc(grpc_address, lambda client: client.is_model_ready("no_such_model")) is False


def test_grpc_error(grpc_address):
    with pytest.raises(grpc.RpcError) as refused:
        over_grpc(grpc_address, lambda client: client.infer(request_for("no_such_model")))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
