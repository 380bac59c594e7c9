"""Hostile input: each gets its status code, and the server answers the next request.

Where the content decides (what is in an image, what a word is) the server passes it on: the graph says
so in the answer, and the toy that is served here does as the project's own graph does.
"""

import io
import json
import logging
import socket
import struct
import time
import zlib

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image
from serving_fixture import arrays, b64, encoded_request, png, predict_request, serving, stub
from tensorflow.core.framework import tensor_pb2, types_pb2

from cmask_tf.serving import limits
from cmask_tf.serving.http_timeouts import TimedProtocol

Code = grpc.StatusCode
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def server(module_base):
    slow = pytest.MonkeyPatch()
    slow.setattr(TimedProtocol, "head_seconds", 0.4)
    slow.setattr(TimedProtocol, "linger_seconds", 0.2)
    small = {"max_request_bytes": 2 * LIMIT, "max_image_pixels": LIMIT, "max_concepts": 100}
    with serving(module_base, rest_api_timeout_in_ms=800, max_batch_size=4, **small) as running:
        yield running
    slow.undo()


@pytest.fixture(scope="module")
def predict(server):
    channel, service = stub(server)
    with channel:
        yield service.Predict


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=30) as client:
        yield client


@pytest.fixture(autouse=True)
def alive_after_it(request, predict, http):
    yield
    assert arrays(predict(encoded_request([png()], [[b"red"]])))["known"].tolist() == [[True]]
    assert http.get("/v1/models/toy").status_code == 200


def code_of(predict, request):
    """The status of a request, and the outputs or the message."""
    try:
        return Code.OK, arrays(predict(request, timeout=30))
    except grpc.RpcError as error:
        return error.code(), error.details()


def post(http, image, concepts):
    body = {
        "signature_name": "segment_encoded",
        "inputs": {"image_bytes": [b64(image)], "concepts": [concepts]},
    }
    return http.post("/v1/models/toy:predict", json=body)


def header_only(width, height, depth=8, colour=2):
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def saved(mode, form, **how):
    out = io.BytesIO()
    Image.new(mode, (6, 8)).save(out, form, **how)
    return out.getvalue()


def bomb():
    """Four million black pixels in a few kilobytes."""
    out = io.BytesIO()
    Image.new("L", (2000, 2000)).save(out, "PNG")
    assert len(out.getvalue()) < 10_000
    return out.getvalue()


TOO_LARGE = {
    "30,000 x 30,000": header_only(30_000, 30_000),
    "a billion pixels wide": header_only(2**31 - 1, 2**31 - 1),
    "decompression bomb": bomb(),
}


@pytest.mark.parametrize("image", TOO_LARGE.values(), ids=TOO_LARGE)
def test_too_many_pixels_are_refused_by_the_header(predict, http, image):
    code, message = code_of(predict, encoded_request([png(), image], [[b"red"], [b"red"]]))
    assert code == Code.INVALID_ARGUMENT
    assert "image_bytes" in message and "pixels" in message
    assert post(http, image, ["red"]).status_code == 400


def test_too_many_pixels_of_a_jpeg_are_refused_by_the_header(predict):
    out = io.BytesIO()
    Image.new("L", (1500, 1500)).save(out, "JPEG")
    assert code_of(predict, encoded_request([out.getvalue()], [[b"red"]]))[0] == Code.INVALID_ARGUMENT


PASSED_ON = {
    "1 x 1": (png(1, 1), True),
    "16 bits": (saved("I;16", "PNG"), True),
    "palette": (saved("P", "PNG"), True),
    "GIF": (saved("P", "GIF"), False),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', False),
    "empty": (b"", False),
}


@pytest.mark.parametrize("image, decodes", PASSED_ON.values(), ids=PASSED_ON)
def test_what_an_image_is_the_graph_says(predict, http, image, decodes):
    code, found = code_of(predict, encoded_request([image, png()], [[b"red"], [b"red"]]))
    assert code == Code.OK
    assert found["known"].tolist() == [[True], [True]]
    assert [bool(mask) for mask in found["mask_png_bytes"].ravel()] == [decodes, True]
    assert post(http, image, ["red"]).status_code == 200


def test_a_graph_that_raises_gives_its_own_status(predict, http):
    image = saved("RGB", "JPEG")[:100]  # the toy's decoder raises, which the project's graph does not
    assert code_of(predict, encoded_request([image], [[b"red"]]))[0] == Code.INVALID_ARGUMENT
    assert post(http, image, ["red"]).status_code == 400


@pytest.mark.parametrize("vector", [[np.nan] * 3, [0, 0, 0], [np.inf, 0, 0]], ids=["NaN", "zero", "infinite"])
def test_word_vectors_of_any_value_reach_the_graph(predict, vector):
    request = predict_request("", image=np.zeros([1, 2, 2, 3], np.uint8), word_vector=np.float32([vector]))
    assert code_of(predict, request)[0] == Code.OK


SHAPES = {
    "wrong D": {"image": np.zeros([1, 2, 2, 3], np.uint8), "word_vector": np.zeros([1, 7], np.float32)},
    "no pixels": {"image": np.zeros([1, 0, 2, 3], np.uint8), "word_vector": np.zeros([1, 3], np.float32)},
    "no rows": {"image": np.zeros([0, 2, 2, 3], np.uint8), "word_vector": np.zeros([0, 3], np.float32)},
    "scalar": {"image": np.uint8(3), "word_vector": np.zeros([1, 3], np.float32)},
    "large": {"image": np.zeros([1, 1, LIMIT + 1, 3], np.uint8)[..., :1], "word_vector": np.float32([[1]])},
}


@pytest.mark.parametrize("inputs", SHAPES.values(), ids=SHAPES)
def test_wrong_shapes(predict, inputs):
    assert code_of(predict, predict_request("", **inputs))[0] == Code.INVALID_ARGUMENT


def test_masks_that_no_answer_should_hold(predict, monkeypatch):
    monkeypatch.setattr(limits, "MOST_MASK_BYTES", 1 * 2 * 5 * 4 * 4)
    image, vectors = np.zeros([1, 5, 4, 3], np.uint8), np.zeros([1, 3, 3], np.float32)
    request = predict_request("segment_concepts", image=image, word_vectors=vectors[:, :2])
    assert code_of(predict, request)[0] == Code.OK
    request = predict_request("segment_concepts", image=image, word_vectors=vectors)
    code, message = code_of(predict, request)
    assert (code, message.split(":")[0]) == (
        Code.INVALID_ARGUMENT,
        "masks of 240 bytes; expected at most 160",
    )


@pytest.mark.parametrize("count", [0, 101, 10_000])
def test_no_concepts_or_too_many(predict, http, count):
    code, message = code_of(predict, encoded_request([png()], np.full([1, count], b"red", object)))
    assert code == Code.INVALID_ARGUMENT
    assert f"concepts: {count} in a row; expected 1 to 100" in message
    assert post(http, png(), ["red"] * count).status_code == 400


def test_more_rows_than_a_batch_holds(predict):
    code, message = code_of(predict, encoded_request([png()] * 5, [[b"red"]] * 5))
    assert (code, message) == (Code.INVALID_ARGUMENT, "Task size 5 is larger than maximum batch size 4")


def test_a_name_of_a_megabyte_is_unknown_and_is_cut_in_the_log(predict, caplog):
    with caplog.at_level(logging.INFO, "cmask.serving"):
        code, found = code_of(predict, encoded_request([png()], [[b"red", b"x" * 1_000_000]]))
    assert (code, found["known"].tolist()) == (Code.OK, [[True, False]])
    (line,) = [json.loads(each.message) for each in caplog.records if '"request"' in each.message]
    assert line["concepts"] == ["red", "x" * 32 + "..."]
    assert (line["code"], line["rows"], line["model"]) == ("OK", 1, "toy")


def test_names_that_are_not_utf_8(predict, http):
    assert code_of(predict, encoded_request([png()], [[b"\xff\xfe"]]))[0] == Code.OK
    assert http.post("/v1/models/toy:predict", content=b'{"instances": ["\xff"]}').status_code == 400
    assert http.get("/v1/models/%ff").status_code == 400


def test_a_message_that_is_none(server):
    channel, _ = stub(server)
    with channel:
        raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        name_not_utf_8 = b"\x0a\x04\x0a\x02\xff\xfe"
        for data in (b"\xff" * 20, name_not_utf_8):
            with pytest.raises(grpc.RpcError) as error:
                raw(data, timeout=30)
            assert error.value.code() == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc", "a\\b", "..", "x" * 10_000])
def test_names_like_paths_are_unknown_models(predict, http, name):
    assert code_of(predict, encoded_request([png()], [[b"red"]], name=name))[0] == Code.NOT_FOUND
    quoted = name.replace("/", "%2F")
    answer = http.post(
        f"/v1/models/{quoted}:predict".replace("/..:", "/%2e%2e:"), content='{"instances": [1]}'
    )
    assert answer.status_code == 404
    assert len(answer.content) < 1000


CLAIMS = {
    "a shape of terabytes": ([1, 1_000_000, 1_000_000, 3], types_pb2.DT_UINT8),
    "a shape below zero": ([1, -1, 2, 3], types_pb2.DT_UINT8),
    "more strings than there are": ([1 << 30], types_pb2.DT_STRING),
    "no such type": ([1], 99),
}


@pytest.mark.parametrize("shape, dtype", CLAIMS.values(), ids=CLAIMS)
def test_tensors_that_claim_more_than_they_hold(predict, shape, dtype):
    request = predict_request("", word_vector=np.zeros([1, 3], np.float32))
    proto = tensor_pb2.TensorProto(dtype=dtype, int_val=[0])
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    request.inputs["image"].CopyFrom(proto)
    assert code_of(predict, request)[0] == Code.INVALID_ARGUMENT


def test_a_tensor_whose_content_is_too_short(predict):
    request = encoded_request([png()], [[b"red"]])
    request.inputs["concepts"].CopyFrom(
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"abc")
    )
    request.inputs["concepts"].tensor_shape.dim.add(size=4)
    assert code_of(predict, request)[0] == Code.INVALID_ARGUMENT


def test_messages_and_bodies_that_are_too_long(predict, http):
    assert code_of(predict, encoded_request([b"x" * 3 * LIMIT], [[b"a"]]))[0] == Code.RESOURCE_EXHAUSTED
    answer = http.post("/v1/models/toy:predict", content=b"x" * 3 * LIMIT)
    assert (answer.status_code, answer.json()) == (413, {"error": f"a body of more than {2 * LIMIT} bytes"})
    chunks = (b"x" * 4096 for _ in range(3 * LIMIT // 4096))
    assert http.post("/v1/models/toy:predict", content=chunks).status_code == 413


class Slow:
    """A client that sends a byte now and then."""

    def __init__(self, server, begin):
        self.socket = socket.create_connection(("127.0.0.1", server.rest_port))
        self.socket.sendall(begin)
        self.socket.settimeout(0.05)
        self.answer = b""

    def until_closed(self):
        """Trickles on until the server ends the connection; how long that took."""
        start = time.monotonic()
        while time.monotonic() - start < 20:
            try:
                self.socket.sendall(b"x")
                received = self.socket.recv(4096)
                if not received:
                    return time.monotonic() - start
                self.answer += received
            except TimeoutError:
                pass
            except OSError:
                return time.monotonic() - start
        pytest.fail("the connection stayed open")


BODY = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


def test_slow_heads_are_cut_off(server):
    Slow(server, b"GET /v1/models/toy HTTP/1.1\r\nX-A: ").until_closed()


def test_slow_second_heads_are_cut_off(server):
    client = Slow(server, b"GET /v1/models/toy HTTP/1.1\r\nHost: x\r\n\r\nGET /v1")
    client.until_closed()
    assert client.answer.startswith(b"HTTP/1.1 200")


def test_slow_bodies_are_answered_504_and_cut_off(server):
    client = Slow(server, BODY)
    client.until_closed()
    assert client.answer.startswith(b"HTTP/1.1 504")


def test_a_body_that_nobody_asked_for_does_not_hold_the_connection(server):
    client = Slow(server, BODY.replace(b"POST", b"GET").replace(b":predict", b""))
    client.until_closed()
    assert client.answer.startswith(b"HTTP/1.1 200")


def test_a_connection_that_says_nothing_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.rest_port)) as silent:
        silent.settimeout(20)
        assert silent.recv(1) == b""


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"\0" * 100_000])
def test_bytes_that_are_not_http(server, garbage):
    with socket.create_connection(("127.0.0.1", server.rest_port)) as client:
        client.sendall(garbage)
        client.settimeout(20)
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
