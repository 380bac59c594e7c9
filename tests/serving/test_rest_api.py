"""REST as TensorFlow Serving speaks it: paths, row and column form, base64, status codes."""

import base64
import json
import re

import httpx
import numpy as np
import pytest
from serving_fixture import b64, mask_of, png, serving


@pytest.fixture(scope="module")
def server(module_base):
    with serving(module_base) as running:
        yield running


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=30) as client:
        yield client


PREDICT = "/v1/models/toy:predict"


def test_rows_give_predictions_one_object_a_row(http):
    rows = [
        {"image_bytes": b64(png(8, 6)), "concepts": ["red", "nothing"]},
        {"image_bytes": b64(png(3, 4, (0, 0, 255))), "concepts": ["red", "blue"]},
    ]
    answer = http.post(PREDICT, json={"signature_name": "segment_encoded", "instances": rows})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    first, second = answer.json()["predictions"]
    assert first["known"] == [True, False]
    assert first["mask_png_bytes"][1] == {"b64": ""}
    mask = mask_of(base64.b64decode(second["mask_png_bytes"][1]["b64"]))
    np.testing.assert_array_equal(mask, np.full([3, 4], 255))


def test_columns_give_outputs_one_list_a_tensor(http):
    inputs = {"image_bytes": [b64(png())], "concepts": [["green", "blue"]]}
    answer = http.post(PREDICT, json={"signature_name": "segment_encoded", "inputs": inputs}).json()
    assert set(answer["outputs"]) == {"known", "mask_png_bytes", "present", "score"}
    assert answer["outputs"]["present"] == [[False, True]]


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/toy/versions/1:predict", "/v1/models/t%6Fy:predict"])
def test_the_default_signature_takes_numbers(http, path):
    row = {"image": [[[255, 255, 255]], [[0, 0, 0]]], "word_vector": [0.2, 0, 0]}
    (found,) = http.post(path, json={"instances": [row]}).json()["predictions"]
    assert found["mask"] == [[0.2], [0.0]], "a float is written as short as it can be"


def test_nan_and_infinity_go_both_ways(http):
    body = '{"instances": [{"image": [[[255, 0, 0]]], "word_vector": [NaN, 0, 0]}]}'
    answer = http.post(PREDICT, content=body)
    assert re.search(r'"score": NaN', answer.text)
    body = '{"inputs": {"image": [[[[255, 0, 0]]]], "word_vector": [[-Infinity, 0, 0]]}}'
    assert re.search(r'"score": \[-Infinity\]', http.post(PREDICT, content=body).text)


@pytest.mark.parametrize("path", ["/v1/models/toy", "/v1/models/toy/versions/1"])
def test_status_is_what_the_documentation_shows(http, path):
    assert http.get(path).json() == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


def test_metadata(http):
    found = http.get("/v1/models/toy/metadata").json()
    assert found["model_spec"] == {"name": "toy", "signature_name": "", "version": "1"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["segment_encoded"]["inputs"]["concepts"]["dtype"] == "DT_STRING"


@pytest.mark.parametrize(
    "method, path, status, words",
    [
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/toy/versions/9", 404, "Could not find version 9 of model toy"),
        ("GET", "/v1/models/toy/versions/99999999999999999999", 400, "to numeric"),
        ("GET", "/v1/models/toy/labels/stable", 400, "Unrecognized servable version label: stable"),
        ("GET", "/v1/models", 400, "Missing model name"),
        ("GET", "/v1/other", 400, "Malformed request: GET /v1/other"),
        ("POST", "/v1/models/toy", 400, "Malformed request: POST /v1/models/toy"),
        ("DELETE", "/v1/models/toy", 400, "Malformed request: DELETE"),
        ("POST", "/v1/models/toy:classify", 501, "not served"),
        ("GET", "/", 404, "Not found"),
        ("POST", "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
    ],
)
def test_wrong_paths(http, method, path, status, words):
    content = b'{"instances": [1]}' if method == "POST" else None
    answer = http.request(method, path, content=content)
    assert answer.status_code == status
    assert words in answer.json()["error"]


IMAGE = json.dumps(b64(png()))
ENCODED = '"signature_name": "segment_encoded"'


@pytest.mark.parametrize(
    "body, words",
    [
        ("", "The document is empty"),
        ("{", "JSON Parse error"),
        ("[1]", "Is not object"),
        (b'{"instances": ["\xff"]}', "invalid UTF-8"),
        ("[" * 100_000, "JSON Parse error"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": [], "inputs": []}', "only one of"),
        ('{"instances": 3}', "to be an list/array"),
        ('{"instances": []}', "No values"),
        ('{"instances": [3]}', "expecting list of objects"),
        ('{"inputs": [3]}', "expecting an object"),
        ('{"signature_name": 3, "instances": [1]}', "must be a string value"),
        ('{"signature_name": "x", "instances": [1]}', '"x" not found in signature def'),
        (f'{{{ENCODED}, "instances": [{{"image_bytes": {IMAGE}}}]}}', "keys must be equal to"),
        (f'{{{ENCODED}, "inputs": {{"image_bytes": [{IMAGE}]}}}}', "Missing named input: concepts"),
        (
            f'{{{ENCODED}, "inputs": {{"image_bytes": [{{"b64": "*"}}], "concepts": [["a"]]}}}}',
            "Unable to base64 decode",
        ),
        (
            f'{{{ENCODED}, "inputs": {{"image_bytes": [{IMAGE}], "concepts": [["a"], ["a", "b"]]}}}}',
            "unexpected size: 2",
        ),
        (
            f'{{{ENCODED}, "inputs": {{"image_bytes": [{IMAGE}], "concepts": [[1]]}}}}',
            "expected type: string",
        ),
        (
            f'{{{ENCODED}, "inputs": {{"image_bytes": [{IMAGE}], "concepts": [["\\ud800"]]}}}}',
            "surrogate",
        ),
        (
            '{"inputs": {"image": [[[[256, 0, 0]]]], "word_vector": [[1, 0, 0]]}}',
            "image: JSON values out of range",
        ),
        ('{"inputs": {"image": [[[[0.5, 0, 0]]]], "word_vector": [[1, 0, 0]]}}', "expected type: uint8"),
        ('{"inputs": {"image": [[[[1, 0, 0]]]], "word_vector": [["1", 0, 0]]}}', "expected type: float32"),
        ('{"inputs": {"image": [[[[1, 0, 0]]]], "word_vector": [[1, [0], 0]]}}', "unequal length"),
    ],
)
def test_wrong_bodies(http, body, words):
    answer = http.post(PREDICT, content=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_the_metrics_page_counts_requests_by_status(http):
    http.get("/v1/models/other")
    page = http.get("/monitoring/prometheus/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'cmask_requests_total{api="rest",code="NOT_FOUND",method="GetModelStatus"}' in page.text
    assert 'cmask_model_version{model="toy"} 1.0' in page.text
