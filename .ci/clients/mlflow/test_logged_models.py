"""LoggedModels without their files."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException


def test_life(client, experiment):
    model = mlflow.initialize_logged_model("first", params={"a": "1"}, tags={"t": "1"}, model_type="agent")
    assert (model.status.value, model.params, model.tags["t"]) == ("PENDING", {"a": "1"}, "1")
    assert model.artifact_location == f"mlflow-artifacts:/{experiment}/models/{model.model_id}/artifacts"
    assert client.finalize_logged_model(model.model_id, "READY").status.value == "READY"
    client.set_logged_model_tags(model.model_id, {"t": "2", "u": "3"})
    client.delete_logged_model_tag(model.model_id, "u")
    mlflow.log_model_params({"b": "2"}, model_id=model.model_id)
    model = client.get_logged_model(model.model_id)
    assert (model.tags["t"], "u" in model.tags, model.params) == ("2", False, {"a": "1", "b": "2"})
    client.delete_logged_model(model.model_id)
    with pytest.raises(MlflowException) as error:
        client.get_logged_model(model.model_id)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_metrics_and_outputs(client, experiment):
    with mlflow.start_run() as active:
        model = mlflow.create_external_model("made")
        mlflow.log_metric("acc", 0.5, step=1, model_id=model.model_id)
    run = client.get_run(active.info.run_id)
    assert run.data.metrics == {"acc": 0.5}
    [metric] = mlflow.get_logged_model(model.model_id).metrics
    assert (metric.key, metric.value, metric.run_id) == ("acc", 0.5, active.info.run_id)


def test_search(experiment):
    models = []
    for i in range(5):
        model = mlflow.initialize_logged_model(f"m-{i}", params={"depth": str(i % 2)})
        with mlflow.start_run():
            mlflow.log_metric("acc", i / 10, model_id=model.model_id)
        models.append(model.model_id)

    def search(**options):
        found = mlflow.search_logged_models([experiment], output_format="list", **options)
        return [models.index(model.model_id) for model in found]

    by_acc = [{"field_name": "metrics.acc", "ascending": False}]
    assert search(order_by=by_acc) == [4, 3, 2, 1, 0]
    assert search(filter_string="metrics.acc >= 0.2 AND params.depth = '0'", order_by=by_acc) == [4, 2]
    assert search(filter_string="name = 'm-3'") == [3]
    assert search(order_by=by_acc, max_results=2) == [4, 3]
