"""More than the server can do: refused at once, late and cancelled work dropped, nothing lost."""

import json
import re
import socket
import threading

import grpc
import httpx
import pytest
from serving_fixture import SLOW, b64, encoded_request, held, png, serving, stub, wait_until

Code = grpc.StatusCode
QUICK = encoded_request([png()], [[b"red"]])
PATH = "/v1/models/toy:predict"
BODY = {"signature_name": "segment_encoded", "inputs": {"image_bytes": [b64(png())], "concepts": [["red"]]}}


@pytest.fixture(scope="module")
def server(module_base):
    with serving(module_base, max_batch_size=1, max_enqueued_batches=2) as running:
        yield running


@pytest.fixture(scope="module")
def predict(server):
    channel, service = stub(server)
    with channel:
        yield service.Predict


def metric(server, pattern):
    found = re.search(rf"(?m)^{pattern} (\S+)", server.predictor.metrics.page().decode())
    return float(found[1]) if found else 0.0


def runs(server):
    return metric(server, r'cmask_run_seconds_count{signature="segment_encoded"}')


def in_flight(server):
    return metric(server, "cmask_requests_in_flight")


@pytest.fixture
def gate(server, predict):
    """The graph is busy with a request until this is set."""
    with held(server) as event:
        slow = predict.future(SLOW, timeout=60)
        wait_until(lambda: in_flight(server) == 1)
        yield event
        event.set()
        assert slow.result().outputs, "what runs is not disturbed"
        wait_until(lambda: in_flight(server) == 0)


def test_what_the_queue_cannot_hold_is_refused_at_once(server, predict, gate):
    others = [predict.future(QUICK, timeout=60) for _ in range(12)]
    wait_until(lambda: sum(each.done() for each in others) == 10)
    refused = [each.code() for each in others if each.done()]
    assert refused == [Code.RESOURCE_EXHAUSTED] * 10
    gate.set()
    codes = [each.code() for each in others]
    assert codes.count(Code.OK) == 2, "those that had a place in the queue"


def test_over_rest_an_overload_is_429(server, predict, gate):
    waiting = [predict.future(QUICK, timeout=60) for _ in range(2)]
    wait_until(lambda: in_flight(server) == 3)
    answer = httpx.post(f"http://127.0.0.1:{server.rest_port}{PATH}", json=BODY, timeout=30)
    assert answer.status_code == 429
    assert "queue" in answer.json()["error"]
    gate.set()
    assert [each.code() for each in waiting] == [Code.OK] * 2


def drain(server, gate):
    """Lets everything end, and tells how many runs there were since the server began."""
    gate.set()
    wait_until(lambda: in_flight(server) == 0)
    return runs(server)


def test_work_past_its_deadline_never_runs(server, predict, gate):
    before = runs(server)
    with pytest.raises(grpc.RpcError) as error:
        predict(QUICK, timeout=0.2)
    assert error.value.code() == Code.DEADLINE_EXCEEDED
    wait_until(lambda: in_flight(server) == 1)
    assert drain(server, gate) == before + 1


def test_cancelled_work_never_runs(server, predict, gate):
    before = runs(server)
    waiting = predict.future(QUICK)
    wait_until(lambda: in_flight(server) == 2)
    waiting.cancel()
    wait_until(lambda: in_flight(server) == 1)
    assert drain(server, gate) == before + 1


def test_work_of_a_rest_client_that_went_away_never_runs(server, gate):
    before = runs(server)
    text = json.dumps(BODY).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.rest_port)) as client:
        client.sendall(head.encode() + text)
        wait_until(lambda: in_flight(server) == 2)
    wait_until(lambda: in_flight(server) == 1)
    assert drain(server, gate) == before + 1


def test_many_clients_at_once_each_get_their_own_answer(module_base):
    """Joined in batches of eight, cut apart again: nobody gets another's mask."""
    with serving(module_base, max_enqueued_batches=100) as server:
        channel, service = stub(server)
        wrong = []

        def ask(index):
            size = (index % 5 + 1, index % 7 + 1)
            names = [b"red", b"green", b"blue"][: index % 3 + 1]
            request = encoded_request([png(*size, (index, 255 - index, 0))], [names])
            for _ in range(5):
                scores = list(service.Predict(request, timeout=60).outputs["score"].float_val)
                wanted = [index / 255, 1 - index / 255, 0][: len(names)]
                if scores != pytest.approx(wanted, abs=1e-6):
                    wrong.append((index, scores))

        with channel:
            threads = [threading.Thread(target=ask, args=(index,)) for index in range(24)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong
        joined = metric(server, r'cmask_batch_rows_sum{signature="segment_encoded"}')
        assert joined == 24 * 5
        assert runs(server) < joined, "nothing was joined"
