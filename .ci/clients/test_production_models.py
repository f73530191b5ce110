"""Models that are in production elsewhere, as their wheels ship them, served without any configuration file."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from magika import Magika


def local(models_folder, model):
    return onnxruntime.InferenceSession(str(models_folder / model / "1/model.onnx"), providers=["CPUExecutionProvider"])


SAMPLES = {
    "python": b"import os\n\n\ndef main():\n    for name in os.listdir('.'):\n        print(name)\n\n\nmain()\n" * 8,
    "json": b'{\n  "name": "switchyard",\n  "list": [1, 2, 3],\n  "nested": {"a": null, "b": [true, false, "text"]}\n}\n',
    "html": b"<!doctype html>\n<html><head><title>t</title></head><body><p>text</p></body></html>\n" * 8,
    "shell": b"#!/bin/bash\nset -eu\nfor f in *.txt; do\n  echo \"$f\"\ndone\n" * 8,
}


class ServedMagika(Magika):
    """Magika with its own pre- and post-processing, its ONNX session replaced by the gateway."""

    def __init__(self, triton):
        super().__init__()
        self._onnx_session = self
        self._triton = triton
        self.calls = 0

    def run(self, outputs, feeds):
        self.calls += 1
        tensors = [self._triton.input(name, "INT32", np.asarray(data, np.int32)) for name, data in feeds.items()]
        result = self._triton.infer("magika", tensors)
        return [result.as_numpy(name) for name in outputs]


def test_magika_recognises_through_the_gateway(triton):
    served, plain = ServedMagika(triton), Magika()
    for label, content in SAMPLES.items():
        answer, expected = served.identify_bytes(content), plain.identify_bytes(content)
        assert answer.output.label == expected.output.label == label
        assert answer.score == pytest.approx(expected.score, abs=1e-4)
    assert served.calls == len(SAMPLES)


def test_magika_batches_agree_with_the_runtime(triton, models_folder):
    data = np.random.default_rng(5).integers(0, 256, (4, 2048)).astype(np.int32)
    (expected,) = local(models_folder, "magika").run(None, {"bytes": data})
    answer = triton.infer("magika", [triton.input("bytes", "INT32", data)]).as_numpy("target_label")
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_silero_vad_carries_its_state_through_the_gateway(triton, models_folder):
    """Ten windows in a row, each given the state the last one answered; the model takes no batch."""
    session = local(models_folder, "silero_vad")
    metadata = triton.ask("get_model_metadata", "silero_vad")
    declared = {tensor["name"]: [int(size) for size in tensor.get("shape", [])] for tensor in metadata["inputs"]}
    assert set(declared) == {"input", "state", "sr"}
    rate = np.array(16000, np.int64)
    time = np.arange(10 * 512) / 16000
    sound = (np.sin(2 * np.pi * 180 * time) * np.sin(2 * np.pi * 4 * time) * 0.4).astype(np.float32).reshape(10, 512)
    context = np.zeros((1, 64), np.float32)
    local_state = served_state = np.zeros((2, 1, 128), np.float32)
    for window in sound:
        chunk = np.concatenate([context, window[None]], axis=1)
        context = chunk[:, -64:]
        expected, local_state = session.run(["output", "stateN"], {"input": chunk, "state": local_state, "sr": rate})
        result = triton.infer(
            "silero_vad",
            [
                triton.input("input", "FP32", chunk),
                triton.input("state", "FP32", served_state),
                triton.input("sr", "INT64", rate.reshape(declared["sr"])),
            ],
        )
        served_state = result.as_numpy("stateN")
        np.testing.assert_allclose(result.as_numpy("output"), expected, atol=1e-4)
        np.testing.assert_allclose(served_state, local_state, atol=1e-3)


def test_the_wheels_files_are_served_as_they_are(models_folder):
    assert not list(Path(models_folder, "magika").glob("config*"))
    assert not list(Path(models_folder, "silero_vad").glob("config*"))
