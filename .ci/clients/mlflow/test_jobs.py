"""Training scripts that know nothing of Switchyard, run as jobs: what they report shows up in the run of the job."""

import json
import os
import sys
import textwrap
import time
import urllib.request

import pytest
from mlflow import MlflowClient

URL = os.environ["MLFLOW_TRACKING_URI"]
TOKEN = os.environ["MLFLOW_TRACKING_TOKEN"]


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, method=method, data=data, headers={"authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def run(name, script, **spec):
    """Runs a script with this suite's interpreter, and gives the ended job."""
    document = {
        "apiVersion": "switchyard/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"command": [sys.executable, "train.py"], "files": {"train.py": textwrap.dedent(script)}, **spec},
    }
    job = call("POST", "/api/v1/jobs", document)
    deadline = time.monotonic() + 240
    while job["ended_at"] is None and time.monotonic() < deadline:
        time.sleep(0.2)
        job = call("GET", f"/api/v1/jobs/{job['id']}")
    return job


def succeed(name, script, **spec):
    job = run(name, script, **spec)
    if job["status"] != "succeeded":
        pytest.fail(json.dumps(job, indent=2), pytrace=False)
    return job


def test_mlflow_script():
    job = succeed(
        "unchanged",
        """
        import mlflow

        with mlflow.start_run() as run:
            mlflow.log_params({"depth": 3})
            for step in range(5):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            with open("note.txt", "w") as file:
                file.write("hello")
            mlflow.log_artifact("note.txt")
            mlflow.set_tag("flavour", "plain")
            with mlflow.start_run(nested=True, run_name="fold-1"):
                mlflow.log_metric("loss", 0.5)
                with mlflow.start_run(nested=True, run_name="epoch-1"):
                    mlflow.log_metric("loss", 0.4)
        print("loss=99 step=99")
        """,
        params={"seed": 7},
    )
    client = MlflowClient()
    found = client.get_run(job["run_id"])
    assert found.info.status == "FINISHED"
    assert found.data.params == {"depth": "3", "seed": "7"}
    assert found.data.tags["flavour"] == "plain"
    # What it reports by itself is not read from its output as well.
    history = client.get_metric_history(job["run_id"], "loss")
    assert [(point.step, point.value) for point in history] == [(i, 1 / (i + 1)) for i in range(5)]
    assert [file.path for file in client.list_artifacts(job["run_id"])] == ["logs", "note.txt"]
    children = client.search_runs([job["experiment_id"]], f"tags.mlflow.parentRunId = '{job['run_id']}'")
    assert [child.info.run_name for child in children] == ["fold-1"]
    below = client.search_runs([job["experiment_id"]], f"tags.mlflow.parentRunId = '{children[0].info.run_id}'")
    assert [(run.info.run_name, run.data.metrics) for run in below] == [("epoch-1", {"loss": 0.4})]


def test_model_of_a_script_is_registered():
    job = succeed(
        "with-model",
        """
        import mlflow
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
        with mlflow.start_run():
            mlflow.log_metric("accuracy", model.score([[0.0], [3.0]], [0, 1]))
            mlflow.sklearn.log_model(model, name="model", registered_model_name="from-a-job")
        """,
    )
    [version] = MlflowClient().search_model_versions("name = 'from-a-job'")
    assert version.run_id == job["run_id"]
    assert job["metrics"] == {"accuracy": 1.0}


def test_plain_output_of_a_trainer():
    job = succeed(
        "trainer",
        """
        import sys, time

        for step in range(1, 5):
            print({"loss": round(1 / step, 4), "grad_norm": 0.5, "learning_rate": 5e-05, "epoch": float(step)})
            sys.stderr.write(f"\\r {25 * step}%|##   | {step}/4 [00:01<00:01, 3.2it/s]")
            sys.stderr.flush()
        print({"train_runtime": 1.5, "train_loss": 0.52, "epoch": 4.0})
        """,
        metrics={"source": "hf"},
    )
    history = MlflowClient().get_metric_history(job["run_id"], "loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, 0.3333), (4, 0.25)]
    assert job["metrics"]["train_loss"] == 0.52
    assert job["progress"] == 1


def test_a_script_that_fails():
    job = run("failing", "import mlflow\nmlflow.start_run()\nraise ValueError('no data')")
    assert (job["status"], job["reason"]) == ("failed", "exit code 1")
    assert "ValueError: no data" in job["log_tail"]
    assert "read the end of the log" in job["next_step"]
    assert MlflowClient().get_run(job["run_id"]).info.status == "FAILED"
