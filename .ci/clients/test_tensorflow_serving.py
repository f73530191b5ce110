"""TensorFlow Serving's REST form through requests and its gRPC services through the official stubs."""

import grpc
import numpy as np
import pytest
import requests
from google.protobuf import any_pb2
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

A = list(range(16))
B = [3] * 16
SUM = [a + 3 for a in A]
DIFFERENCE = [a - 3 for a in A]


@pytest.fixture
def models_url(base_url):
    return f"{base_url}/v1/models"


def test_rest_status(models_url):
    answer = requests.get(f"{models_url}/simple", timeout=10)
    assert answer.status_code == 200
    (status,) = answer.json()["model_version_status"]
    assert status["version"] == "1"
    assert status["state"] == "AVAILABLE"
    assert status["status"]["error_code"] == "OK"
    assert requests.get(f"{models_url}/simple/versions/1", timeout=10).json()["model_version_status"] == [status]


def test_rest_metadata(models_url):
    metadata = requests.get(f"{models_url}/simple/metadata", timeout=10).json()
    assert metadata["model_spec"]["name"] == "simple"
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["INPUT0"]["dtype"] == "DT_INT32"


def test_rest_rows(models_url):
    rows = [{"INPUT0": A, "INPUT1": B}, {"INPUT0": B, "INPUT1": A}]
    answer = requests.post(f"{models_url}/simple:predict", json={"instances": rows}, timeout=10)
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert predictions[0] == {"OUTPUT0": SUM, "OUTPUT1": DIFFERENCE}
    assert predictions[1]["OUTPUT1"] == [-d for d in DIFFERENCE]


def test_rest_columns(models_url):
    body = {"inputs": {"INPUT0": [A], "INPUT1": [B]}, "signature_name": "serving_default"}
    answer = requests.post(f"{models_url}/simple/versions/1:predict", json=body, timeout=10)
    assert answer.json()["outputs"] == {"OUTPUT0": [SUM], "OUTPUT1": [DIFFERENCE]}


def test_rest_single_input_and_output_go_unnamed(models_url):
    rows = [[0.5, -1.25, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]
    answer = requests.post(f"{models_url}/identity_fp32:predict", json={"instances": rows}, timeout=10)
    assert answer.json() == {"predictions": rows}
    answer = requests.post(f"{models_url}/identity_fp32:predict", json={"inputs": rows}, timeout=10)
    assert answer.json() == {"outputs": rows}


def test_rest_not_a_number_is_read_and_written_bare(models_url):
    body = '{"instances": [[NaN, Infinity, -Infinity, 1.0]]}'
    text = requests.post(f"{models_url}/identity_fp32:predict", data=body, timeout=10).text
    assert "NaN" in text and "-Infinity" in text and '"NaN"' not in text


def test_rest_64_bit_integers_survive(models_url):
    row = [2**63 - 1, -(2**63), 2**53 + 1, 0]
    answer = requests.post(f"{models_url}/identity_int64:predict", json={"instances": [row]}, timeout=10)
    assert [int(value) for value in answer.json()["predictions"][0]] == row


def test_rest_binary_strings(models_url):
    rows = [[{"b64": "aMOp"}, "plain"]]
    answer = requests.post(f"{models_url}/identity_string:predict", json={"instances": rows}, timeout=10)
    assert answer.json()["predictions"] == [["hé", "plain"]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("no_such_model:predict", '{"instances": [[1]]}', 404),
        ("simple/versions/77:predict", '{"instances": [[1]]}', 404),
        ("simple:predict", "{", 400),
        ("simple:predict", '{"instances": []}', 400),
        ("simple:predict", '{"instances": [1], "inputs": [1]}', 400),
        ("simple:predict", '{"instances": [{"INPUT0": [1]}]}', 400),
    ],
)
def test_rest_refusals(models_url, path, body, status):
    answer = requests.post(f"{models_url}/{path}", data=body, timeout=10)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]


@pytest.fixture
def channel(grpc_address):
    with grpc.insecure_channel(grpc_address) as opened:
        yield opened


@pytest.fixture
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def shape(*dims):
    return tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=d) for d in dims])


def tensor(dtype, dims, **values):
    return tensor_pb2.TensorProto(dtype=dtype, tensor_shape=shape(*dims), **values)


def predict_request(model, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value)
    return request


def dims_of(value):
    return [dim.size for dim in value.tensor_shape.dim]


def test_grpc_predict(prediction):
    a = tensor(types_pb2.DT_INT32, (1, 16), tensor_content=np.array(A, np.int32).tobytes())
    # One value stands for all of them.
    b = tensor(types_pb2.DT_INT32, (1, 16), int_val=[3])
    answer = prediction.Predict(predict_request("simple", INPUT0=a, INPUT1=b), timeout=10)
    assert answer.model_spec.name == "simple"
    assert answer.model_spec.version.value == 1
    assert list(answer.outputs["OUTPUT0"].int_val) == SUM
    assert list(answer.outputs["OUTPUT1"].int_val) == DIFFERENCE
    assert dims_of(answer.outputs["OUTPUT0"]) == [1, 16]


def test_grpc_output_filter(prediction):
    value = tensor(types_pb2.DT_INT32, (1, 16), int_val=A)
    request = predict_request("simple", INPUT0=value, INPUT1=value)
    request.output_filter.append("OUTPUT1")
    assert list(prediction.Predict(request, timeout=10).outputs) == ["OUTPUT1"]


@pytest.mark.parametrize(
    ("model", "dtype", "field", "values"),
    [
        ("identity_fp32", types_pb2.DT_FLOAT, "float_val", [0.5, -0.0, 3.5, 2.0**100]),
        ("identity_fp64", types_pb2.DT_DOUBLE, "double_val", [0.1, -1e300, 0.0, 5e-324]),
        ("identity_int64", types_pb2.DT_INT64, "int64_val", [2**63 - 1, -(2**63), 0, 1]),
        ("identity_uint64", types_pb2.DT_UINT64, "uint64_val", [2**64 - 1, 0, 1, 2]),
        ("identity_uint32", types_pb2.DT_UINT32, "uint32_val", [2**32 - 1, 0, 1, 2]),
        ("identity_int8", types_pb2.DT_INT8, "int_val", [-128, 127, 0, 1]),
        ("identity_uint16", types_pb2.DT_UINT16, "int_val", [65535, 0, 1, 2]),
        ("identity_bool", types_pb2.DT_BOOL, "bool_val", [True, False, False, True]),
        ("identity_bytes", types_pb2.DT_STRING, "string_val", [b"", b"\xff\x00", "é".encode(), b"x"]),
    ],
)
def test_grpc_types(prediction, model, dtype, field, values):
    request = predict_request(model, INPUT=tensor(dtype, (1, 4), **{field: values}))
    output = prediction.Predict(request, timeout=10).outputs["OUTPUT"]
    assert output.dtype == dtype
    assert dims_of(output) == [1, 4]
    assert list(getattr(output, field)) == values


def test_grpc_classify(prediction, digit):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "digits"
    features = feature_pb2.Features()
    features.feature["image"].float_list.value.extend(digit["inputs"][0]["data"])
    request.input.CopyFrom(
        input_pb2.Input(example_list=input_pb2.ExampleList(examples=[example_pb2.Example(features=features)]))
    )
    (classified,) = prediction.Classify(request, timeout=10).result.classifications
    assert max(classified.classes, key=lambda each: each.score).label == "3"


def test_grpc_metadata(prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "simple"
    answer = prediction.GetModelMetadata(request, timeout=10)
    packed = answer.metadata["signature_def"]
    assert isinstance(packed, any_pb2.Any)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["INPUT0"].dtype == types_pb2.DT_INT32


def test_grpc_model_status(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "simple"
    (status,) = stub.GetModelStatus(request, timeout=10).model_version_status
    assert status.version == 1
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE


def test_grpc_refusals(prediction):
    value = tensor(types_pb2.DT_INT32, (1, 16), int_val=A)
    with pytest.raises(grpc.RpcError) as refused:
        prediction.Predict(predict_request("no_such_model", INPUT0=value), timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as refused:
        prediction.Predict(predict_request("simple", INPUT0=value), timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "INPUT1" in refused.value.details()
