"""Addresses of the running gateway, and one way to run a test with each of the four tritonclient flavours.

The suites fail, rather than skip, without a gateway: start one over the repository that prepare.py writes, and set
SWITCHYARD_HTTP, SWITCHYARD_GRPC (host:port) and SWITCHYARD_MODELS (the repository's folder). run.sh does it all.
"""

import asyncio
import importlib
import inspect
import json
import os
from pathlib import Path

import pytest

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
FLAVOURS = ["http", "http.aio", "grpc", "grpc.aio"]


def setting(name):
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: these suites need a running gateway, see .ci/clients/run.sh", pytrace=False)
    return value


@pytest.fixture(scope="session")
def http_address():
    return setting("SWITCHYARD_HTTP")


@pytest.fixture(scope="session")
def base_url(http_address):
    return f"http://{http_address}"


@pytest.fixture(scope="session")
def grpc_address():
    return setting("SWITCHYARD_GRPC")


@pytest.fixture(scope="session")
def models_folder():
    return Path(setting("SWITCHYARD_MODELS"))


class Flavour:
    """One tritonclient module; `run(use)` opens a client, calls `use(client)` and awaits what is awaitable."""

    def __init__(self, name, address):
        self.name = name
        # Imported late: KServe's SDK registers the same protobuf names, so its suite runs in a process of its own.
        self.module = importlib.import_module(f"tritonclient.{name}")
        self.address = address
        self.is_http = name.startswith("http")

    def run(self, use):
        if not self.name.endswith("aio"):
            with self.module.InferenceServerClient(self.address) as client:
                return use(client)

        async def opened():
            async with self.module.InferenceServerClient(self.address) as client:
                result = use(client)
                return await result if inspect.isawaitable(result) else result

        return asyncio.run(opened())

    def input(self, name, datatype, array, **options):
        tensor = self.module.InferInput(name, list(array.shape), datatype)
        if self.is_http:
            tensor.set_data_from_numpy(array, **options)
        else:
            tensor.set_data_from_numpy(array)
        return tensor

    def output(self, name, **options):
        return self.module.InferRequestedOutput(name, **options)

    def infer(self, model, inputs, **options):
        return self.run(lambda client: client.infer(model, inputs, **options))

    def ask(self, method, *args, **options):
        """A call that answers with a document: always as plain dicts and lists."""
        if not self.is_http:
            options["as_json"] = True
        return self.run(lambda client: getattr(client, method)(*args, **options))


@pytest.fixture(params=FLAVOURS)
def triton(request, http_address, grpc_address):
    return Flavour(request.param, http_address if request.param.startswith("http") else grpc_address)


@pytest.fixture(params=["http", "http.aio"])
def triton_http(request, http_address):
    return Flavour(request.param, http_address)


@pytest.fixture(params=["grpc", "grpc.aio"])
def triton_grpc(request, grpc_address):
    return Flavour(request.param, grpc_address)


@pytest.fixture(scope="session")
def digit():
    """A handwritten 3 the demo model was not trained on, as its example request."""
    return json.loads((REPOSITORY_ROOT / "config/models/digits/example.json").read_text())
