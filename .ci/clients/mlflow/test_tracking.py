"""Experiments, runs, params, metrics, tags, inputs."""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import mlflow
import numpy as np
import pytest
import requests
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException


def code_of(error):
    return error.value.error_code


def test_experiments(client, unique):
    default = client.get_experiment("0")
    assert default.name == "Default"
    experiment_id = client.create_experiment(unique, tags={"team": "a"})
    experiment = client.get_experiment_by_name(unique)
    assert (experiment.experiment_id, experiment.tags) == (experiment_id, {"team": "a"})
    assert client.get_experiment_by_name(unique + "-none") is None
    with pytest.raises(MlflowException) as error:
        client.create_experiment(unique)
    assert code_of(error) == "RESOURCE_ALREADY_EXISTS"
    client.rename_experiment(experiment_id, unique + "-b")
    client.set_experiment_tag(experiment_id, "team", "b")
    assert client.get_experiment(experiment_id).tags == {"team": "b"}
    client.delete_experiment_tag(experiment_id, "team")
    client.delete_experiment(experiment_id)
    found = client.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=f"name = '{unique}-b'")
    assert [e.experiment_id for e in found] == [experiment_id]
    client.restore_experiment(experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "active"


def test_search_experiments(client, unique):
    ids = [client.create_experiment(f"{unique}-{i}", tags={"i": str(i)}) for i in range(5)]
    found = client.search_experiments(filter_string=f"name LIKE '{unique}%'", order_by=["name DESC"])
    assert [e.experiment_id for e in found] == ids[::-1]
    assert [e.experiment_id for e in client.search_experiments(filter_string=f"name ILIKE '{unique.upper()}%' AND tags.i = '3'")] == [ids[3]]
    first = client.search_experiments(filter_string=f"name LIKE '{unique}%'", order_by=["name"], max_results=3)
    rest = client.search_experiments(filter_string=f"name LIKE '{unique}%'", order_by=["name"], max_results=3, page_token=first.token)
    assert [e.experiment_id for e in [*first, *rest]] == ids


def test_start_run(client, experiment):
    with mlflow.start_run(run_name="one", tags={"a": "1"}, description="what it is") as active:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"layers": [1, 2], "name": "quoted \"text\" ⚙"})
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"acc": 0.9, "f1": 0.8}, step=4)
        mlflow.set_tags({"b": "2", "mlflow.note.content": "noted"})
        with mlflow.start_run(nested=True) as child:
            pass
    run = client.get_run(active.info.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "one"
    assert run.info.artifact_uri == f"mlflow-artifacts:/{experiment}/{run.info.run_id}/artifacts"
    assert run.data.params == {"lr": "0.1", "layers": "[1, 2]", "name": "quoted \"text\" ⚙"}
    assert run.data.metrics == {"loss": 0.2, "acc": 0.9, "f1": 0.8}
    assert run.data.tags["b"] == "2" and run.data.tags["mlflow.note.content"] == "noted"
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(5)]


def test_failed_runs(client, experiment):
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as active:
        1 / 0
    assert client.get_run(active.info.run_id).info.status == "FAILED"
    client.set_terminated(active.info.run_id, "KILLED")
    assert client.get_run(active.info.run_id).info.status == "KILLED"


def test_special_numbers(client, experiment):
    run = client.create_run(experiment)
    for key, value in {"nan": math.nan, "inf": math.inf, "ninf": -math.inf, "third": 1 / 3}.items():
        client.log_metric(run.info.run_id, key, value)
    metrics = client.get_run(run.info.run_id).data.metrics
    assert math.isnan(metrics["nan"])
    assert (metrics["inf"], metrics["ninf"]) == (1.7976931348623157e308, -1.7976931348623157e308)
    assert metrics["third"] == 1 / 3


def test_batches(client, experiment):
    run_id = client.create_run(experiment).info.run_id
    metrics = [Metric(f"m{i % 10}", i / 7, 1000 + i, i) for i in range(1000)]
    client.log_batch(run_id, metrics=metrics)
    client.log_batch(run_id, params=[Param(f"p{i}", str(i)) for i in range(100)], tags=[RunTag(f"t{i}", "x") for i in range(100)])
    client.log_batch(run_id, metrics=metrics[:500])
    run = client.get_run(run_id)
    assert len(run.data.metrics) == 10 and len(run.data.params) == 100
    history = client.get_metric_history(run_id, "m3")
    assert [(m.step, m.value) for m in history] == [(i, i / 7) for i in range(3, 1000, 10)]


def test_params_do_not_change(client, experiment):
    run_id = client.create_run(experiment).info.run_id
    client.log_param(run_id, "lr", "0.1")
    client.log_param(run_id, "lr", "0.1")
    with pytest.raises(MlflowException, match="Changing param values is not allowed") as error:
        client.log_param(run_id, "lr", "0.2")
    assert code_of(error) == "INVALID_PARAMETER_VALUE"


def test_deleted_runs(client, experiment):
    run_id = client.create_run(experiment).info.run_id
    client.set_tag(run_id, "a", "1")
    client.delete_tag(run_id, "a")
    with pytest.raises(MlflowException) as error:
        client.delete_tag(run_id, "a")
    assert code_of(error) == "RESOURCE_DOES_NOT_EXIST"
    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException):
        client.log_metric(run_id, "a", 1)
    client.restore_run(run_id)
    client.log_metric(run_id, "a", 1)
    client.update_run(run_id, status="SCHEDULED", name="renamed")
    info = client.get_run(run_id).info
    assert (info.status, info.run_name) == ("SCHEDULED", "renamed")


def test_unknown_runs(client):
    with pytest.raises(MlflowException) as error:
        client.get_run("0" * 32)
    assert code_of(error) == "RESOURCE_DOES_NOT_EXIST"


def test_datasets(client, experiment):
    dataset = mlflow.data.from_numpy(np.arange(6.0).reshape(3, 2), targets=np.arange(3), name="numbers")
    with mlflow.start_run() as active:
        mlflow.log_input(dataset, context="training")
        mlflow.log_input(dataset, context="training")
    [used] = client.get_run(active.info.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("numbers", dataset.digest)
    assert [(t.key, t.value) for t in used.tags] == [("mlflow.data.context", "training")]
    found = mlflow.search_runs(filter_string="dataset.name = 'numbers' AND dataset.context = 'training'", output_format="list")
    assert [run.info.run_id for run in found] == [active.info.run_id]


def test_many_threads(client, experiment):
    """Many writers and one run: no error, nothing lost, and no retry hides one (run.sh switches them off)."""
    run_id = client.create_run(experiment).info.run_id

    def log(i):
        client.log_batch(run_id, metrics=[Metric(f"m{k}", i, i, i) for k in range(10)])
        return client.create_run(experiment).info.run_id

    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(log, range(100)))
    assert len(set(created)) == 100
    for k in range(10):
        assert len(client.get_metric_history(run_id, f"m{k}")) == 100


def test_access(server):
    url = f"{server}/api/2.0/mlflow/experiments/get?experiment_id=0"
    token = os.environ["MLFLOW_TRACKING_TOKEN"]
    assert requests.get(url).status_code == 401
    assert requests.get(url, auth=("ada", token)).status_code == 200
    assert requests.get(url, auth=("ada", "wrong")).status_code == 401


def test_name_and_password(server, monkeypatch):
    token = os.environ["MLFLOW_TRACKING_TOKEN"]
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", token)
    assert mlflow.MlflowClient().get_experiment("0").name == "Default"
