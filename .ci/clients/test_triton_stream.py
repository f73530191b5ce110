"""ModelStreamInfer through tritonclient.grpc and tritonclient.grpc.aio."""

import asyncio
import queue

import numpy as np
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client


def inputs_of(module, value, width=16):
    tensors = []
    for name in ("INPUT0", "INPUT1"):
        tensor = module.InferInput(name, [1, width], "INT32")
        tensor.set_data_from_numpy(np.full((1, width), value, np.int32))
        tensors.append(tensor)
    return tensors


def test_answers_carry_their_ids_and_values(grpc_address):
    answers = queue.Queue()
    with sync_client.InferenceServerClient(grpc_address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i in range(50):
            client.async_stream_infer("simple", inputs_of(sync_client, i), request_id=str(i))
        got = [answers.get(timeout=20) for _ in range(50)]
        client.stop_stream()
    for result, error in got:
        assert error is None
        i = int(result.get_response().id)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), np.full((1, 16), 2 * i, np.int32))
    assert sorted(int(result.get_response().id) for result, _ in got) == list(range(50))


def test_an_error_leaves_the_stream_open(grpc_address):
    answers = queue.Queue()
    with sync_client.InferenceServerClient(grpc_address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("simple", inputs_of(sync_client, 1, width=3), request_id="bad")
        result, error = answers.get(timeout=20)
        assert error is not None and "INPUT" in str(error)
        client.async_stream_infer("simple", inputs_of(sync_client, 1), request_id="good")
        result, error = answers.get(timeout=20)
        assert error is None and result.get_response().id == "good"
        client.stop_stream()


def test_the_final_response_is_marked(grpc_address):
    answers = queue.Queue()
    with sync_client.InferenceServerClient(grpc_address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("simple", inputs_of(sync_client, 1), enable_empty_final_response=True)
        result, error = answers.get(timeout=20)
        client.stop_stream()
    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param is True


def test_asyncio_stream(grpc_address):
    async def talk():
        async def requests():
            for i in range(20):
                yield {"model_name": "simple", "inputs": inputs_of(aio_client, i), "request_id": str(i)}

        seen = {}
        async with aio_client.InferenceServerClient(grpc_address) as client:
            async for result, error in client.stream_infer(requests()):
                assert error is None
                seen[int(result.get_response().id)] = result.as_numpy("OUTPUT0")[0, 0]
        return seen

    assert asyncio.run(talk()) == {i: 2 * i for i in range(20)}
