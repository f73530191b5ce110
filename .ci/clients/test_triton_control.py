"""Health, metadata, configuration, statistics, the repository and model control through tritonclient's four flavours."""

import json
import time

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException


def simple_inputs(triton):
    data = np.ones((1, 16), np.int32)
    return [triton.input("INPUT0", "INT32", data), triton.input("INPUT1", "INT32", data)]


def test_health(triton):
    assert triton.run(lambda client: client.is_server_live()) is True
    assert triton.run(lambda client: client.is_server_ready()) is True
    assert triton.run(lambda client: client.is_model_ready("simple")) is True
    assert triton.run(lambda client: client.is_model_ready("simple", "1")) is True
    assert triton.run(lambda client: client.is_model_ready("no_such_model")) is False


def test_server_metadata(triton):
    metadata = triton.ask("get_server_metadata")
    assert metadata["name"]
    assert metadata["version"]
    for extension in ("binary_tensor_data", "classification", "model_repository", "model_configuration", "statistics"):
        assert any(name.startswith(extension) for name in metadata["extensions"]), extension


def test_model_metadata(triton):
    metadata = triton.ask("get_model_metadata", "simple")
    assert metadata["name"] == "simple"
    assert metadata["versions"] == ["1"]
    assert metadata["platform"]
    inputs = {tensor["name"]: tensor for tensor in metadata["inputs"]}
    assert set(inputs) == {"INPUT0", "INPUT1"}
    assert inputs["INPUT0"]["datatype"] == "INT32"
    assert [int(size) for size in inputs["INPUT0"]["shape"]] == [-1, 16]
    assert {tensor["name"] for tensor in metadata["outputs"]} == {"OUTPUT0", "OUTPUT1"}


def test_completed_metadata_of_a_model_without_configuration(triton):
    metadata = triton.ask("get_model_metadata", "magika")
    assert metadata["inputs"][0]["name"] == "bytes"
    assert metadata["inputs"][0]["datatype"] == "INT32"
    assert [int(size) for size in metadata["inputs"][0]["shape"]] == [-1, 2048]


def config_of(triton, model):
    answer = triton.ask("get_model_config", model)
    return answer if triton.is_http else answer["config"]


def test_model_config(triton):
    config = config_of(triton, "simple")
    assert config["name"] == "simple"
    assert config["max_batch_size"] == 8
    assert config["input"][0]["data_type"] == "TYPE_INT32"
    assert [int(size) for size in config["input"][0]["dims"]] == [16]
    assert "dynamic_batching" in config


def statistics_of(triton, model):
    return triton.ask("get_inference_statistics", model)["model_stats"][0]


def test_statistics_count_what_was_asked(triton):
    before = statistics_of(triton, "simple")
    triton.infer("simple", simple_inputs(triton))
    with pytest.raises(InferenceServerException):
        triton.infer("simple", simple_inputs(triton)[:1])
    after = statistics_of(triton, "simple")
    assert after["name"] == "simple" and after["version"] == "1"

    def count(stats, kind):
        return int(stats["inference_stats"].get(kind, {}).get("count", 0))

    assert count(after, "success") == count(before, "success") + 1
    assert int(after["inference_count"]) == int(before.get("inference_count", 0)) + 1
    assert int(after["execution_count"]) > int(before.get("execution_count", 0))
    for kind in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert count(after, kind) == count(before, kind) + 1, kind
    assert int(after["inference_stats"]["success"]["ns"]) > 0
    assert int(after["last_inference"]) > 1_500_000_000_000
    assert after["batch_stats"]


def test_repository_index(triton):
    index = triton.ask("get_model_repository_index")
    models = index if triton.is_http else index["models"]
    ready = {model["name"]: model for model in models if model.get("state") == "READY"}
    assert {"simple", "digits", "identity_fp32"} <= set(ready)
    assert ready["simple"]["version"] == "1"


def test_unload_and_load(triton):
    triton.run(lambda client: client.unload_model("identity_uint16"))
    wait_until(lambda: not triton.run(lambda client: client.is_model_ready("identity_uint16")))
    data = np.ones((1, 4), np.uint16)
    with pytest.raises(InferenceServerException):
        triton.infer("identity_uint16", [triton.input("INPUT", "UINT16", data)])
    triton.run(lambda client: client.load_model("identity_uint16"))
    assert triton.run(lambda client: client.is_model_ready("identity_uint16"))
    echoed = triton.infer("identity_uint16", [triton.input("INPUT", "UINT16", data)]).as_numpy("OUTPUT")
    np.testing.assert_array_equal(echoed, data)


def test_load_with_another_configuration(triton):
    # A completed configuration may prefer batches of the old maximum, which would not fit the new one.
    config = {**config_of(triton, "simple"), "max_batch_size": 2, "dynamic_batching": {}}
    triton.run(lambda client: client.load_model("simple", config=json.dumps(config)))
    try:
        assert config_of(triton, "simple")["max_batch_size"] == 2
        data = np.ones((3, 16), np.int32)
        with pytest.raises(InferenceServerException):
            triton.infer("simple", [triton.input(name, "INT32", data) for name in ("INPUT0", "INPUT1")])
    finally:
        # Triton keeps a configuration sent with a load until the model is unloaded.
        triton.run(lambda client: client.unload_model("simple"))
        triton.run(lambda client: client.load_model("simple"))
    assert config_of(triton, "simple")["max_batch_size"] == 8


def test_load_with_files(triton, models_folder):
    name = f"sent_{triton.name.replace('.', '_')}"
    content = (models_folder / "simple/1/model.onnx").read_bytes()
    config = json.dumps({"backend": "onnxruntime", "max_batch_size": 4})
    triton.run(lambda client: client.load_model(name, config=config, files={"file:3/model.onnx": content}))
    try:
        assert triton.ask("get_model_metadata", name)["versions"] == ["3"]
        result = triton.infer(name, simple_inputs(triton), model_version="3")
        assert (result.as_numpy("OUTPUT0") == 2).all()
    finally:
        triton.run(lambda client: client.unload_model(name))
    wait_until(lambda: not triton.run(lambda client: client.is_model_ready(name)))


def test_a_broken_file_is_refused_and_nothing_else_suffers(triton):
    name = f"broken_{triton.name.replace('.', '_')}"
    config = json.dumps({"backend": "onnxruntime"})
    with pytest.raises(InferenceServerException, match=name):
        triton.run(lambda client: client.load_model(name, config=config, files={"file:1/model.onnx": b"not a model"}))
    assert triton.run(lambda client: client.is_model_ready(name)) is False
    assert (triton.infer("simple", simple_inputs(triton)).as_numpy("OUTPUT0") == 2).all()


def test_loading_what_does_not_exist(triton):
    with pytest.raises(InferenceServerException, match="no_such_model"):
        triton.run(lambda client: client.load_model("no_such_model"))


def test_logging_and_trace_settings(triton):
    settings = triton.ask("get_log_settings")
    assert settings
    verbose = {"log_verbose_level": 1}
    triton.run(lambda client: client.update_log_settings(verbose))
    triton.run(lambda client: client.update_log_settings({"log_verbose_level": 0}))
    trace = triton.ask("get_trace_settings")
    assert trace


def test_shared_memory_says_that_it_is_not_offered(triton):
    status = triton.ask("get_system_shared_memory_status")
    assert status == [] if triton.is_http else not status.get("regions")
    # What clients call before they begin.
    triton.run(lambda client: client.unregister_system_shared_memory())
    triton.run(lambda client: client.unregister_cuda_shared_memory())
    for register in (
        lambda client: client.register_system_shared_memory("region", "/switchyard_test_region", 64),
        lambda client: client.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64),
    ):
        with pytest.raises(InferenceServerException) as refused:
            triton.run(register)
        assert refused.value.status() in ("501", "StatusCode.UNIMPLEMENTED")
        assert "shared memory" in refused.value.message()


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.05)
