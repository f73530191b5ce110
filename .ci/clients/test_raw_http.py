"""What curl and hand-written clients send, byte for byte."""

import gzip
import json
import socket
import struct
import zlib

import pytest
import requests

ROW = list(range(16))
BODY = {
    "inputs": [
        {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": ROW},
        {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": [ROW]},
    ]
}
HEADER_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def infer(base_url):
    def post(model, data, headers=None):
        body = json.dumps(data) if isinstance(data, (dict, list)) else data
        return requests.post(f"{base_url}/v2/models/{model}/infer", data=body, headers=headers, timeout=10)

    return post


def outputs_of(answer):
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def test_the_readmes_first_request(infer, digit):
    outputs = outputs_of(infer("digits", digit, {"Content-Type": "application/json"}))
    assert outputs["label"] == [3]
    assert max(range(10), key=outputs["probabilities"].__getitem__) == 3


def test_no_content_type_and_nested_or_flat_data(infer):
    outputs = outputs_of(infer("simple", BODY))
    assert outputs["OUTPUT0"] == [2 * value for value in ROW]
    assert outputs["OUTPUT1"] == [0] * 16


def test_not_a_number_is_read_and_written_bare(infer):
    text = '{"inputs":[{"name":"INPUT","datatype":"FP32","shape":[1,4],"data":[NaN,Infinity,-Infinity,1.5]}]}'
    answer = infer("identity_fp32", text)
    assert answer.status_code == 200, answer.text
    compact = answer.text.replace(" ", "")
    assert "[NaN,Infinity,-Infinity,1.5]" in compact


def test_64_bit_integers_survive_as_plain_numbers(infer):
    values = [9223372036854775807, -9223372036854775808, 9007199254740993, 0]
    body = {"inputs": [{"name": "INPUT", "datatype": "INT64", "shape": [1, 4], "data": values}]}
    answer = infer("identity_int64", body)
    assert answer.json()["outputs"][0]["data"] == values
    assert "9223372036854775807" in answer.text


def binary_request(**parameters):
    data = struct.pack("<4f", 1, 2, 3, 4)
    tensor = {"name": "INPUT", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16, **parameters}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return header, data


def test_binary_in_and_out(infer):
    header, data = binary_request()
    answer = infer("identity_fp32", header + data, {HEADER_LENGTH: str(len(header))})
    assert answer.status_code == 200, answer.text
    length = int(answer.headers[HEADER_LENGTH])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"]["binary_data_size"] == 16
    assert answer.content[length:] == data


def test_a_raw_body_is_the_only_input(infer):
    data = struct.pack("<4f", 1, 2, 3, 4)
    answer = infer("identity_fp32", data, {HEADER_LENGTH: "0"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_header_length_counts_uncompressed_bytes(infer, encoding):
    header, data = binary_request()
    packed = gzip.compress(header + data) if encoding == "gzip" else zlib.compress(header + data)
    answer = infer("identity_fp32", packed, {HEADER_LENGTH: str(len(header)), "Content-Encoding": encoding})
    assert answer.content.endswith(data)


def with_input(**changes):
    return {"inputs": [{**BODY["inputs"][0], **changes}, BODY["inputs"][1]]}


def binary_with(change):
    header, data = binary_request()
    return change(header, data)


BAD = {
    "not JSON": (b'{"inputs": [', {}, 400),
    "empty": (b"", {}, 400),
    "an array": (b"[]", {}, 400),
    "no inputs": (b"{}", {}, 400),
    "inputs is a number": (b'{"inputs": 7}', {}, 400),
    "shape against data": (json.dumps(with_input(data=ROW[:-1])).encode(), {}, 400),
    "negative shape": (json.dumps(with_input(shape=[-1, 16])).encode(), {}, 400),
    "huge shape": (json.dumps(with_input(shape=[2**40, 2**40])).encode(), {}, 400),
    "fractional shape": (json.dumps(with_input(shape=[1.5, 16])).encode(), {}, 400),
    "unknown type": (json.dumps(with_input(datatype="INT33")).encode(), {}, 400),
    "text for a number": (json.dumps(with_input(data=["x"] * 16)).encode(), {}, 400),
    "out of range": (json.dumps(with_input(data=[2**31] + ROW[1:])).encode(), {}, 400),
    "a fraction for an integer": (json.dumps(with_input(data=[0.5] + ROW[1:])).encode(), {}, 400),
    "duplicate input": (json.dumps({"inputs": [BODY["inputs"][0]] * 2}).encode(), {}, 400),
    "deep nesting": (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400),
    "header length beyond the body": (json.dumps(BODY).encode(), {HEADER_LENGTH: "999999"}, 400),
    "header length not a number": (json.dumps(BODY).encode(), {HEADER_LENGTH: "ten"}, 400),
    "negative header length": (json.dumps(BODY).encode(), {HEADER_LENGTH: "-1"}, 400),
    "unknown encoding": (json.dumps(BODY).encode(), {"Content-Encoding": "br"}, 501),
    "broken gzip": (b"\x1f\x8bnot gzip", {"Content-Encoding": "gzip"}, 400),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_bodies_are_refused_with_a_reason_and_the_next_is_served(infer, case):
    body, headers, status = BAD[case]
    answer = infer("simple", body, headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]
    outputs_of(infer("simple", BODY))


@pytest.mark.parametrize("tail", [b"", b"\0" * 15, b"\0" * 17], ids=["none", "short", "long"])
def test_binary_of_the_wrong_length(infer, tail):
    header, _ = binary_request()
    answer = infer("identity_fp32", header + tail, {HEADER_LENGTH: str(len(header))})
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_both_data_and_binary(infer):
    tensor = {
        "name": "INPUT", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], "parameters": {"binary_data_size": 16},
    }
    header = json.dumps({"inputs": [tensor]}).encode()
    answer = infer("identity_fp32", header + b"\0" * 16, {HEADER_LENGTH: str(len(header))})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/simple/infer", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/no/such/path", 404),
        ("GET", "/v2/models/no_such_model", 404),
        ("GET", "/v2/models/simple/versions/zero", 400),
        ("GET", "/v2/models/..%2f..%2fetc", 404),
        ("POST", "/v2/repository/models/..%2f..%2fetc/load", 400),
    ],
)
def test_paths_and_methods(base_url, method, path, status):
    answer = requests.request(method, base_url + path, timeout=10)
    assert answer.status_code in ({status, 400, 404} if status in (400, 404) else {status})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]


def test_health_bodies(base_url):
    assert requests.get(f"{base_url}/v2/health/live", timeout=10).json() == {"live": True}
    assert requests.get(f"{base_url}/v2/health/ready", timeout=10).json() == {"ready": True}
    assert requests.get(f"{base_url}/", timeout=10).json() == {"status": "alive"}


def test_statistics_of_all_models(base_url):
    stats = requests.get(f"{base_url}/v2/models/stats", timeout=10).json()["model_stats"]
    assert {"simple", "digits"} <= {entry["name"] for entry in stats}


def test_generate(base_url):
    body = {"INPUT": ["one", "two"]}
    answer = requests.post(f"{base_url}/v2/models/identity_string/generate", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.json()["OUTPUT"] == ["one", "two"]
    answer = requests.post(f"{base_url}/v2/models/identity_string/generate_stream", json=body, timeout=10)
    assert answer.headers["content-type"].startswith("text/event-stream")
    (event,) = [line for line in answer.text.split("\n") if line.startswith("data:")]
    assert json.loads(event[5:])["OUTPUT"] == ["one", "two"]


def raw_exchange(address, data):
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        connection.settimeout(10)
        received = b""
        try:
            while b"\r\n\r\n" not in received:
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return received


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"\0" * 4096,
    ],
    ids=["TLS hello", "huge header", "smuggling", "negative length", "zeros"],
)
def test_bytes_that_are_not_http_hurt_no_one(http_address, infer, data):
    received = raw_exchange(http_address, data)
    # 505 is the socket library's own answer to what is no HTTP request at all.
    assert received == b"" or received.split(b" ")[1][:1] == b"4" or received.split(b" ")[1] == b"505"
    outputs_of(infer("simple", BODY))
