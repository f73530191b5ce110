"""An unchanged mlflow client against the registry that run.sh starts. One file per area; they share these fixtures."""

import os
import uuid

import mlflow
import pytest
from mlflow import MlflowClient


@pytest.fixture(scope="session", autouse=True)
def server():
    if "MLFLOW_TRACKING_URI" not in os.environ:
        pytest.fail("MLFLOW_TRACKING_URI is not set: start these suites with .ci/clients/mlflow/run.sh", pytrace=False)
    return os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture
def client():
    return MlflowClient()


@pytest.fixture
def unique():
    """A name that nothing else has."""
    return f"name-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def experiment(unique):
    """A fresh experiment, which runs without another one go to."""
    return mlflow.set_experiment(unique).experiment_id
