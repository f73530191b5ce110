"""search_runs: filters, orders, pages."""

import math

import mlflow
import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException


@pytest.fixture
def runs(client, experiment):
    """Ten runs; run i has loss i / 10, param depth i % 3, and a tag with blanks in its name when i is even."""
    ids = []
    for i in range(10):
        run_id = client.create_run(experiment, start_time=1 + i // 2, run_name=f"run-{i}").info.run_id
        client.log_metric(run_id, "loss", math.nan if i == 9 else i / 10)
        client.log_param(run_id, "depth", i % 3)
        if i % 2 == 0:
            client.set_tag(run_id, "my tag", f"Value{i}")
        client.set_terminated(run_id, "FAILED" if i == 5 else "FINISHED", end_time=100 + i)
        ids.append(run_id)
    return ids


@pytest.fixture
def search(client, experiment, runs):
    def search(filter_string="", order_by=None, **options):
        found = client.search_runs([experiment], filter_string, order_by=order_by, **options)
        return [runs.index(run.info.run_id) for run in found]

    return search


@pytest.mark.parametrize(
    "text,expected",
    [
        ("metrics.loss < 0.2", [0, 1]),
        ("metrics.loss >= 0.7", [7, 8]),
        ("metrics.loss != 0.3 AND metrics.loss > 0.1", [2, 4, 5, 6, 7, 8]),
        ("params.depth = '2' and metrics.loss > 0.2", [5, 8]),
        ("params.depth != '0' AND status = 'FAILED'", [5]),
        ("tags.`my tag` LIKE 'Value%' and metrics.loss <= 0.4", [0, 2, 4]),
        ("tags.\"my tag\" ILIKE 'value6'", [6]),
        ("tags.`my tag` IS NULL AND attributes.start_time > 3", [7, 9]),
        ("tags.`my tag` IS NOT NULL AND start_time <= 2", [0, 2]),
        ("attributes.status IN ('FAILED', 'KILLED')", [5]),
        ("run_name = 'run-3'", [3]),
        ("attributes.`run name` LIKE 'run-_' AND end_time > 107", [8, 9]),
        ("parameters.depth = '1' AND metric.loss < 0.5", [1, 4]),
    ],
)
def test_filters(search, text, expected):
    assert sorted(search(text)) == expected


def test_run_ids(search, runs):
    assert sorted(search(f"attributes.run_id IN ('{runs[1]}', '{runs[4]}')")) == [1, 4]


def test_orders(search, runs):
    assert search(order_by=["metrics.loss DESC"]) == [8, 7, 6, 5, 4, 3, 2, 1, 0, 9]
    assert search(order_by=["metrics.loss ASC"])[-1] == 9
    assert search(order_by=["params.depth", "metrics.loss DESC"]) == [6, 3, 0, 9, 7, 4, 1, 8, 5, 2]
    assert search(order_by=["tags.`my tag` DESC"])[:5] == [8, 6, 4, 2, 0]
    newest = search()
    assert [i // 2 for i in newest] == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    for pair in zip(newest[::2], newest[1::2]):
        assert runs[pair[0]] < runs[pair[1]]


def test_pages(client, experiment, runs):
    found, token = [], None
    while True:
        page = client.search_runs([experiment], order_by=["metrics.loss"], max_results=3, page_token=token)
        found += [run.info.run_id for run in page]
        token = page.token
        if not token:
            break
    assert found == runs


def test_views(client, experiment, runs, search):
    client.delete_run(runs[0])
    assert 0 not in search()
    assert search(run_view_type=ViewType.DELETED_ONLY) == [0]
    assert len(search(run_view_type=ViewType.ALL)) == 10


def test_data_frame(experiment, runs):
    frame = mlflow.search_runs(filter_string="metrics.loss < 0.5", order_by=["metrics.loss"])
    assert list(frame["metrics.loss"]) == [0, 0.1, 0.2, 0.3, 0.4]
    assert list(frame["params.depth"]) == ["0", "1", "2", "0", "1"]


@pytest.mark.parametrize("text", ["metrics.loss", "loss > 1", "metrics.loss > 'x'", "params.depth = 1", "metrics.a > 1 OR metrics.b > 1"])
def test_bad_filters(search, text):
    with pytest.raises(MlflowException) as error:
        search(text)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_bad_token(search):
    with pytest.raises(MlflowException) as error:
        search(page_token="nonsense")
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
