"""Inference through tritonclient's four flavours: values, types, batches, parameters, refusals."""

import ml_dtypes
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def simple_inputs(triton, a=A, b=B, **options):
    return [triton.input("INPUT0", "INT32", a, **options), triton.input("INPUT1", "INT32", b, **options)]


def assert_simple(result, a=A, b=B):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), a + b)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), a - b)


def response(triton, result):
    return result.get_response() if triton.is_http else result.get_response(as_json=True)


def test_sum_and_difference(triton):
    result = triton.infer("simple", simple_inputs(triton), request_id="request-7")
    assert_simple(result)
    answer = response(triton, result)
    assert answer["model_name"] == "simple"
    assert answer["model_version"] == "1"
    assert answer["id"] == "request-7"


def test_a_version_by_number(triton):
    assert_simple(triton.infer("simple", simple_inputs(triton), model_version="1"))


def test_only_the_requested_output(triton):
    result = triton.infer("simple", simple_inputs(triton), outputs=[triton.output("OUTPUT1")])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)
    assert [output["name"] for output in response(triton, result)["outputs"]] == ["OUTPUT1"]


def test_a_batch_of_three(triton):
    a = np.arange(48, dtype=np.int32).reshape(3, 16)
    assert_simple(triton.infer("simple", simple_inputs(triton, a, -a)), a, -a)


def test_priority_timeout_and_own_parameters(triton):
    result = triton.infer(
        "simple", simple_inputs(triton), priority=1, timeout=5_000_000, parameters={"team": "search", "rank": 2}
    )
    assert_simple(result)


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_integers_to_their_limits(triton, dtype, binary):
    info = np.iinfo(dtype)
    data = np.array([[info.min, info.max, 0, info.max - 1]], dtype)
    options = {"binary_data": binary} if triton.is_http else {}
    result = triton.infer(
        f"identity_{dtype}",
        [triton.input("INPUT", dtype.upper(), data, **options)],
        outputs=[triton.output("OUTPUT", **options)],
    )
    echoed = result.as_numpy("OUTPUT")
    assert echoed.dtype == data.dtype
    np.testing.assert_array_equal(echoed, data)


@pytest.mark.parametrize("dtype", ["fp16", "fp32", "fp64"])
def test_floats_with_infinities_and_nan(triton, dtype):
    data = np.array([[np.nan, np.inf, -np.inf, -0.0]], f"float{dtype[2:]}")
    echoed = triton.infer(f"identity_{dtype}", [triton.input("INPUT", dtype.upper(), data)]).as_numpy("OUTPUT")
    assert echoed.dtype == data.dtype
    np.testing.assert_array_equal(echoed, data)
    assert np.signbit(echoed[0, 3])


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_floats_in_json(triton_http, dtype):
    data = np.array([[np.nan, np.inf, -np.inf, 0.1]], f"float{dtype[2:]}")
    result = triton_http.infer(
        f"identity_{dtype}",
        [triton_http.input("INPUT", dtype.upper(), data, binary_data=False)],
        outputs=[triton_http.output("OUTPUT", binary_data=False)],
    )
    np.testing.assert_array_equal(result.as_numpy("OUTPUT"), data)


def test_half_floats_are_refused_in_json(triton_http):
    data = np.ones((1, 4), np.float16)
    with pytest.raises(InferenceServerException) as refused:
        triton_http.infer(
            "identity_fp16",
            [triton_http.input("INPUT", "FP16", data)],
            outputs=[triton_http.output("OUTPUT", binary_data=False)],
        )
    assert refused.value.status() == "400"


def test_bool(triton):
    data = np.array([[True, False, False, True]])
    echoed = triton.infer("identity_bool", [triton.input("INPUT", "BOOL", data)]).as_numpy("OUTPUT")
    np.testing.assert_array_equal(echoed, data)


def test_bfloat16_or_a_reason_why_not(triton):
    """onnxruntime-node has no bfloat16: without the addon the model's index entry says so, and nothing else suffers."""
    if triton.run(lambda client: client.is_model_ready("identity_bf16")):
        data = np.array([[1.0, -2.5, 65280.0, 0.0078125]], ml_dtypes.bfloat16)
        echoed = triton.infer("identity_bf16", [triton.input("INPUT", "BF16", data)]).as_numpy("OUTPUT")
        np.testing.assert_array_equal(echoed.astype(np.float32), data.astype(np.float32))
    else:
        index = triton.ask("get_model_repository_index")
        models = index if triton.is_http else index["models"]
        entry = next(model for model in models if model["name"] == "identity_bf16")
        assert entry["state"] == "UNAVAILABLE"
        assert entry["reason"]


TEXTS = ["", "plain", "žluťoučký kůň", "\U0001f600", "zero\0inside", "x" * 5000]


def test_bytes_in_binary_form(triton):
    data = np.array([[text.encode() for text in TEXTS]], np.object_)
    echoed = triton.infer("identity_bytes", [triton.input("INPUT", "BYTES", data)]).as_numpy("OUTPUT")
    assert echoed.shape == data.shape
    assert list(echoed[0]) == list(data[0])


def test_bytes_in_json(triton_http):
    data = np.array([TEXTS], np.object_)
    result = triton_http.infer(
        "identity_bytes",
        [triton_http.input("INPUT", "BYTES", data, binary_data=False)],
        outputs=[triton_http.output("OUTPUT", binary_data=False)],
    )
    assert [text if isinstance(text, str) else text.decode() for text in result.as_numpy("OUTPUT")[0]] == TEXTS


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_a_tensor_without_elements(triton, binary):
    data = np.empty((1, 0), np.object_)
    options = {"binary_data": binary} if triton.is_http else {}
    result = triton.infer(
        "identity_bytes",
        [triton.input("INPUT", "BYTES", data, **options)],
        outputs=[triton.output("OUTPUT", **options)],
    )
    output = response(triton, result)["outputs"][0]
    assert [int(size) for size in output["shape"]] == [1, 0]


def test_classification(triton, digit):
    image = np.array(digit["inputs"][0]["data"], np.float32).reshape(1, 64)
    result = triton.infer(
        "digits",
        [triton.input("image", "FP32", image)],
        outputs=[triton.output("probabilities", class_count=3), triton.output("label")],
    )
    best = [text.decode().split(":") for text in result.as_numpy("probabilities").reshape(-1)]
    assert len(best) == 3
    assert best[0][1] == "3" and best[0][2] == "3"
    assert float(best[0][0]) > float(best[1][0]) >= float(best[2][0])
    assert result.as_numpy("label").reshape(-1).tolist() == [3]


@pytest.mark.parametrize("request_algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_algorithm", [None, "gzip", "deflate"])
def test_http_compression(triton_http, request_algorithm, response_algorithm):
    result = triton_http.infer(
        "simple",
        simple_inputs(triton_http),
        request_compression_algorithm=request_algorithm,
        response_compression_algorithm=response_algorithm,
    )
    assert_simple(result)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_grpc_compression(triton_grpc, algorithm):
    assert_simple(triton_grpc.infer("simple", simple_inputs(triton_grpc), compression_algorithm=algorithm))


REFUSALS = {
    "unknown model": ("no_such_model", "", lambda t: simple_inputs(t), "no_such_model", ("404", "400"), "NOT_FOUND"),
    "unknown version": ("simple", "9", lambda t: simple_inputs(t), "simple", ("404", "400"), "NOT_FOUND"),
    "missing input": ("simple", "", lambda t: simple_inputs(t)[:1], "INPUT1", ("400",), "INVALID_ARGUMENT"),
    "unknown input": (
        "simple", "", lambda t: [*simple_inputs(t), t.input("INPUT9", "INT32", A)], "INPUT9", ("400",), "INVALID_ARGUMENT",
    ),
    "wrong type": (
        "simple", "",
        lambda t: [t.input("INPUT0", "FP32", A.astype(np.float32)), t.input("INPUT1", "INT32", B)],
        "INPUT0", ("400",), "INVALID_ARGUMENT",
    ),
    "wrong shape": (
        "simple", "", lambda t: simple_inputs(t, np.ones((1, 15), np.int32), np.ones((1, 15), np.int32)),
        "INPUT", ("400",), "INVALID_ARGUMENT",
    ),
    "batch too large": (
        "simple", "", lambda t: simple_inputs(t, np.ones((9, 16), np.int32), np.ones((9, 16), np.int32)),
        "8", ("400",), "INVALID_ARGUMENT",
    ),
}


@pytest.mark.parametrize("case", list(REFUSALS))
def test_a_refusal_names_what_is_wrong_and_the_next_request_is_served(triton, case):
    model, version, inputs, named, http_statuses, grpc_status = REFUSALS[case]
    with pytest.raises(InferenceServerException) as refused:
        triton.infer(model, inputs(triton), model_version=version)
    assert named in refused.value.message()
    if triton.is_http:
        assert refused.value.status() in http_statuses
    else:
        assert refused.value.status().endswith(grpc_status)
    assert_simple(triton.infer("simple", simple_inputs(triton)))


def test_an_unknown_output_is_refused(triton):
    with pytest.raises(InferenceServerException, match="OUTPUT9"):
        triton.infer("simple", simple_inputs(triton), outputs=[triton.output("OUTPUT9")])


def test_many_at_once_each_get_their_own_answer(http_address):
    import tritonclient.http as client_module

    with client_module.InferenceServerClient(http_address, concurrency=16) as client:
        waiting = []
        for i in range(200):
            a = np.full((1 + i % 3, 16), i, np.int32)
            inputs = []
            for name in ("INPUT0", "INPUT1"):
                tensor = client_module.InferInput(name, list(a.shape), "INT32")
                tensor.set_data_from_numpy(a)
                inputs.append(tensor)
            waiting.append((a, client.async_infer("simple", inputs, request_id=str(i))))
        for i, (a, pending) in enumerate(waiting):
            result = pending.get_result()
            assert result.get_response()["id"] == str(i)
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), a + a)
            assert not result.as_numpy("OUTPUT1").any()
