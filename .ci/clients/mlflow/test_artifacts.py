"""Artifacts of runs: log, list, download, delete; and models of three flavours, logged, registered and loaded."""

import filecmp
import hashlib
import os
import threading
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pytest
import requests
from mlflow.artifacts import download_artifacts, list_artifacts, load_dict, load_text
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

TREE = {
    "a.txt": b"plain",
    "empty.bin": b"",
    "deep/er/b.json": b'{"x": 1}',
    "deep/with blank & \xc3\xbc.txt".encode("latin1").decode(): b"odd name",
    "50% off.txt": b"percent",
    "big.bin": os.urandom(9_000_000),
}


@pytest.fixture
def folder(tmp_path):
    for name, content in TREE.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "tree"


@pytest.fixture
def run_id(client, experiment):
    return client.create_run(experiment).info.run_id


def files_in(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def listed(client, run_id, path=None):
    return [(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run_id, path)]


def test_folders_come_back_as_they_were(client, run_id, folder, tmp_path):
    client.log_artifacts(run_id, str(folder), "tree")
    got = client.download_artifacts(run_id, "tree", str(tmp_path))
    assert files_in(got) == TREE
    whole = tmp_path / "whole"
    whole.mkdir()
    assert files_in(client.download_artifacts(run_id, "", str(whole))) == {f"tree/{k}": v for k, v in TREE.items()}


def test_lists(client, run_id, folder):
    client.log_artifacts(run_id, str(folder))
    client.log_artifact(run_id, str(folder / "a.txt"), "deep")
    assert listed(client, run_id) == [
        ("50% off.txt", False, 7),
        ("a.txt", False, 5),
        ("big.bin", False, 9_000_000),
        ("deep", True, None),
        ("empty.bin", False, 0),
    ]
    assert listed(client, run_id, "deep")[0] == ("deep/a.txt", False, 5)
    assert listed(client, run_id, "deep/er") == [("deep/er/b.json", False, 8)]
    assert listed(client, run_id, "a.txt") == []
    assert listed(client, run_id, "nothing") == []
    assert [f.path for f in list_artifacts(run_id=run_id, artifact_path="deep/er")] == ["deep/er/b.json"]


def test_one_file(client, run_id, folder, tmp_path):
    client.log_artifact(run_id, str(folder / "big.bin"))
    local = download_artifacts(run_id=run_id, artifact_path="big.bin", dst_path=str(tmp_path))
    assert Path(local).read_bytes() == TREE["big.bin"]
    uri = client.get_run(run_id).info.artifact_uri
    assert Path(download_artifacts(artifact_uri=f"{uri}/big.bin")).read_bytes() == TREE["big.bin"]
    with pytest.raises(Exception):
        download_artifacts(run_id=run_id, artifact_path="absent.bin", dst_path=str(tmp_path))


def test_texts_tables_and_figures(client, run_id):
    client.log_text(run_id, "hello ⚙", "notes/hello.txt")
    client.log_dict(run_id, {"a": [1, 2]}, "config.json")
    client.log_dict(run_id, {"a": 1}, "config.yaml")
    client.log_image(run_id, np.zeros((4, 4, 3), dtype=np.uint8), artifact_file="black.png")
    client.log_table(run_id, {"x": [1, 2]}, "table.json")
    client.log_table(run_id, {"x": [3]}, "table.json")
    uri = client.get_run(run_id).info.artifact_uri
    assert load_text(f"{uri}/notes/hello.txt") == "hello ⚙"
    assert load_dict(f"{uri}/config.json") == {"a": [1, 2]}
    assert client.load_table(run_id[:0] or client.get_run(run_id).info.experiment_id, "table.json", [run_id])["x"].tolist() == [1, 2, 3]


def test_overwrite_and_delete(client, run_id, tmp_path):
    client.log_text(run_id, "one", "x.txt")
    client.log_text(run_id, "two", "x.txt")
    uri = client.get_run(run_id).info.artifact_uri
    assert load_text(f"{uri}/x.txt") == "two"
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(uri)
    repository.delete_artifacts("x.txt")
    assert listed(client, run_id) == []
    client.log_text(run_id, "three", "y/z.txt")
    repository.delete_artifacts()
    assert listed(client, run_id) == []


def test_parallel_downloads_by_ranges(client, run_id, folder, tmp_path, monkeypatch):
    client.log_artifact(run_id, str(folder / "big.bin"))
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(2 * 1024 * 1024))
    local = client.download_artifacts(run_id, "big.bin", str(tmp_path))
    assert Path(local).read_bytes() == TREE["big.bin"]


def test_multipart_uploads_fall_back(client, run_id, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000000")
    client.log_artifact(run_id, str(folder / "big.bin"))
    local = client.download_artifacts(run_id, "big.bin", str(tmp_path))
    assert Path(local).read_bytes() == TREE["big.bin"]


def test_a_resumed_upload_is_an_artifact(server, client, run_id, tmp_path):
    """Our own REST beside MLflow's: an upload that broke off goes on, and the client sees its result."""
    headers = {"Authorization": f"Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}"}
    content = TREE["big.bin"]
    root = client.get_run(run_id).info.artifact_uri.removeprefix("mlflow-artifacts:/")
    announced = requests.post(
        f"{server}/api/v1/registry/uploads",
        headers=headers,
        json={"path": f"{root}/resumed.bin", "size": len(content), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"},
    ).json()
    url = f"{server}/api/v1/registry/uploads/{announced['upload_id']}"
    offset = 0
    while offset < len(content):
        part = content[offset : offset + 4_000_000]
        answer = requests.patch(url, headers={**headers, "Upload-Offset": str(offset)}, data=part)
        assert answer.status_code == 200, answer.text
        offset = answer.json()["offset"]
    assert Path(client.download_artifacts(run_id, "resumed.bin", str(tmp_path))).read_bytes() == content


def memory_of(root):
    """Resident bytes of a process and all it started."""
    children, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except OSError:
            continue
        children.setdefault(int(status["PPid"]), []).append(int(folder.name))
        sizes[int(folder.name)] = int(status.get("VmRSS", "0 kB").split()[0]) * 1024
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += sizes.get(pid, 0)
        waiting += children.get(pid, [])
    return total


class PeakMemory:
    """The most memory that the server's processes have together meanwhile, beyond what they had before."""

    def __enter__(self):
        self.pid = int(os.environ["SWITCHYARD_PID"])
        self.before = self.peak = memory_of(self.pid)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.ending.wait(0.1):
            self.peak = max(self.peak, memory_of(self.pid))

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    @property
    def grown(self):
        return self.peak - self.before


def test_two_gigabytes_go_up_and_down_in_flat_memory(client, run_id, tmp_path):
    """By the unchanged client, in one PUT and one GET."""
    size = 2 * 1024**3
    big = tmp_path / "two-gigabytes.bin"
    with big.open("wb") as file:
        for i in range(size // 2**20):
            file.write(i.to_bytes(8, "little") * 2**17)
    with PeakMemory() as memory:
        client.log_artifact(run_id, str(big))
    assert [f.file_size for f in client.list_artifacts(run_id)] == [size]
    assert memory.grown < 300 * 2**20, f"{memory.grown} bytes more"
    down = tmp_path / "down"
    down.mkdir()
    with PeakMemory() as memory:
        local = client.download_artifacts(run_id, "two-gigabytes.bin", str(down))
    assert memory.grown < 300 * 2**20, f"{memory.grown} bytes more"
    assert filecmp.cmp(big, local, shallow=False)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc", "a\\b", "C:\\x"])
def test_paths_that_lead_elsewhere(client, run_id, path):
    with pytest.raises(Exception):
        client.list_artifacts(run_id, path)


def onnx_model():
    """y = x · w"""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [2.0, 3.0])],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


class Doubled(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.factor = int(Path(context.artifacts["factor"]).read_text())

    def predict(self, context, model_input, params=None):
        return model_input * self.factor


ROWS = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)


def check_loaded(client, info, name, expected):
    version = client.get_model_version(name, info.registered_model_version)
    assert version.status == "READY"
    client.set_registered_model_alias(name, "champion", version.version)
    for uri in [f"models:/{name}@champion", f"models:/{name}/{version.version}", info.model_uri, f"models:/{info.model_id}"]:
        loaded = mlflow.pyfunc.load_model(uri)
        result = loaded.predict(ROWS)
        result = result["y"] if isinstance(result, dict) else result
        assert np.allclose(np.asarray(result).reshape(-1), expected), uri
    assert "MLmodel" in [f.path for f in client.list_logged_model_artifacts(info.model_id)]


def test_sklearn(client, experiment, unique):
    model = LogisticRegression().fit([[1, 0], [0, 1]], [0, 1])
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(
            model, name="model", registered_model_name=unique, signature=infer_signature(ROWS), input_example=ROWS
        )
    check_loaded(client, info, unique, [0, 1])
    assert mlflow.sklearn.load_model(f"models:/{unique}@champion").coef_.tolist() == model.coef_.tolist()


def test_onnx(client, experiment, unique):
    with mlflow.start_run():
        info = mlflow.onnx.log_model(onnx_model(), name="model", registered_model_name=unique, signature=infer_signature(ROWS))
    check_loaded(client, info, unique, [2, 3])
    assert mlflow.onnx.load_model(f"models:/{unique}/1").SerializeToString() == onnx_model().SerializeToString()


def test_pyfunc_with_artifacts(client, experiment, unique, tmp_path):
    (tmp_path / "factor.txt").write_text("2")
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=Doubled(),
            artifacts={"factor": str(tmp_path / "factor.txt")},
            registered_model_name=unique,
            signature=infer_signature(ROWS, ROWS),
        )
    check_loaded(client, info, unique, (ROWS * 2).reshape(-1))


def test_models_logged_to_a_run_path(client, experiment, unique):
    with mlflow.start_run() as active:
        mlflow.onnx.log_model(onnx_model(), name="net", signature=infer_signature(ROWS))
    version = mlflow.register_model(f"runs:/{active.info.run_id}/net", unique)
    loaded = mlflow.pyfunc.load_model(f"models:/{unique}/{version.version}")
    assert np.allclose(loaded.predict(ROWS)["y"].reshape(-1), [2, 3])


def test_a_missing_model_is_told_at_once():
    with pytest.raises(MlflowException) as error:
        mlflow.pyfunc.load_model("models:/absent/1")
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
