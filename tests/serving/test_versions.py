"""Versions come and go while requests run; what is not whole is never served."""

import gc
import hashlib
import json
import shutil
import threading
import weakref

import grpc
import httpx
import pytest
import tensorflow as tf
from serving_fixture import SLOW, encoded_request, held, png, publish, save_toy, serving, stub, wait_until
from tensorflow_serving.apis import prediction_log_pb2

from cmask_tf.errors import UserError
from cmask_tf.serving import version_folder

POLL = {"file_system_poll_wait_seconds": 0.05}
REQUEST = encoded_request([png()], [[b"red"]])


def state(server, version):
    found = server.versions.status.get(version)
    return found and found.state


def served_version(server):
    channel, service = stub(server)
    with channel:
        return service.Predict(REQUEST).model_spec.version.value


class Load:
    """Threads that ask over gRPC and REST without a pause, and what they got."""

    def __init__(self, server):
        self.versions, self.failures = [], []
        self._end = threading.Event()
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/toy:predict"
        body = {"instances": [{"image": [[[1, 1, 1]]], "word_vector": [1, 0, 0]}]}
        channel, service = stub(server)
        http = httpx.Client()

        def by_grpc():
            self.versions.append(service.Predict(REQUEST, timeout=30).model_spec.version.value)

        def by_rest():
            http.post(url, json=body, timeout=30).raise_for_status()

        self._threads = [
            threading.Thread(target=self._ask, args=(how,)) for how in (by_grpc, by_grpc, by_rest)
        ]
        self._channel = channel
        for thread in self._threads:
            thread.start()

    def _ask(self, how):
        while not self._end.is_set():
            try:
                how()
            except (grpc.RpcError, httpx.HTTPError) as error:
                self.failures.append(error)

    def stop(self):
        self._end.set()
        for thread in self._threads:
            thread.join(30)
        self._channel.close()


@pytest.fixture
def no_garbage_collection():
    """Only what the server collects itself is collected."""
    gc.disable()
    yield
    gc.enable()


def test_new_versions_under_load_fail_no_request_and_the_old_ones_are_unloaded(
    toy, base, no_garbage_collection
):
    with serving(base, **POLL) as server:
        old = weakref.ref(server.versions._current.servable._model)
        load = Load(server)
        try:
            wait_until(lambda: len(load.versions) > 10)
            for version in (2, 3):
                publish(toy, base, version)
                wait_until(lambda v=version: v in load.versions)
        finally:
            load.stop()
        assert not load.failures
        wait_until(lambda: state(server, 1) == state(server, 2) == "END")
        assert state(server, 3) == "AVAILABLE"
        assert old() is None, "the old version's memory is still held"


def test_the_old_version_stays_until_its_last_request_has_its_answer(toy, base):
    with serving(base, max_batch_size=1, num_batch_threads=2, **POLL) as server, held(server) as gate:
        channel, service = stub(server)
        with channel:
            running = service.Predict.future(SLOW, timeout=60)
            wait_until(lambda: server.versions._current.users == 1)
            publish(toy, base, 2)
            wait_until(lambda: served_version(server) == 2)
            assert state(server, 1) == "UNLOADING"
            gate.set()
            assert running.result().model_spec.version.value == 1
            wait_until(lambda: state(server, 1) == "END")


def test_a_broken_version_is_refused_and_the_old_one_goes_on_until_it_is_put_right(toy, base):
    with serving(base, **POLL) as server:
        publish(toy, base, 2)
        broken = base / ".3.partial"
        shutil.copytree(toy, broken)
        (broken / "saved_model.pb").write_bytes(b"\x07 this is not a SavedModel")
        broken.rename(base / "3")
        wait_until(lambda: state(server, 3) == "END")
        assert server.versions.status[3].message == "saved_model.pb is damaged or not whole"
        assert server.versions.status[3].code == grpc.StatusCode.FAILED_PRECONDITION
        wait_until(lambda: state(server, 2) == "AVAILABLE")
        assert served_version(server) == 2
        shutil.copy(toy / "saved_model.pb", base / "3" / "saved_model.pb")
        wait_until(lambda: state(server, 3) == "AVAILABLE")


def test_a_directory_that_appears_bit_by_bit_is_not_loaded_before_it_is_whole(toy, base):
    files = sorted(path for path in toy.rglob("*") if path.is_file())
    with serving(base, **POLL) as server:
        looks = Looks(server)
        for file in files:
            target = base / "2" / file.relative_to(toy)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            for size in (len(content) // 2, len(content)):
                assert state(server, 2) != "AVAILABLE"
                target.write_bytes(content[:size])
                looks.wait(3)  # it lies still, half as it is, and is looked at
                assert served_version(server) in ((1,) if file != files[-1] else (1, 2))
        wait_until(lambda: state(server, 2) == "AVAILABLE")
        assert served_version(server) == 2


class Looks:
    """Waits for the server to look at its folder."""

    def __init__(self, server):
        self._count = 0
        poll = server.versions.poll

        async def counted():
            await poll()
            self._count += 1

        server.versions.poll = counted

    def wait(self, looks):
        wanted = self._count + looks
        wait_until(lambda: self._count >= wanted)


def test_a_version_that_changes_between_two_looks_is_left_alone(toy, base):
    with serving(base, **POLL) as server:
        looks, end = Looks(server), threading.Event()

        def write():
            shutil.copytree(toy, base / "2")
            while not end.is_set():
                with (base / "2" / "growing").open("a") as file:
                    file.write("more")

        writer = threading.Thread(target=write)
        writer.start()
        looks.wait(6)
        unseen = state(server, 2)
        end.set()
        writer.join()
        assert unseen is None
        wait_until(lambda: state(server, 2) == "AVAILABLE")


def checked(toy, directory, **wrong):
    """A copy with checksums beside it, as the export writes them, some of them wrong."""
    shutil.copytree(toy, directory)
    sums = {
        file.relative_to(toy).as_posix(): "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
        for file in toy.rglob("*")
        if file.is_file()
    }
    (directory / "assets.extra").mkdir()
    (directory / "assets.extra" / "checksums.json").write_text(json.dumps(sums | wrong))
    return directory


def test_a_version_is_what_its_checksums_say_or_is_refused(toy, base):
    bad = checked(toy, base / ".bad", **{"variables/variables.index": "sha256:" + "0" * 64})
    with serving(base, **POLL) as server:
        publish(bad, base, 2)
        wait_until(lambda: state(server, 2) == "END")
        assert "variables/variables.index is not what" in server.versions.status[2].message
        assert served_version(server) == 1
        publish(checked(toy, base / ".good"), base, 3)
        wait_until(lambda: state(server, 3) == "AVAILABLE")


def test_taking_the_latest_away_goes_back_and_taking_all_away_changes_nothing(toy, base):
    publish(toy, base, 2)
    with serving(base, **POLL) as server:
        assert server.versions.available == 2
        looks = Looks(server)
        shutil.rmtree(base / "2")
        wait_until(lambda: state(server, 1) == "AVAILABLE")
        shutil.rmtree(base)
        looks.wait(3)
        assert served_version(server) == 1


def warm_up(directory, request):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    (directory / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(directory / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def test_warm_up_requests_run_before_a_version_is_available(toy, base):
    good, bad = base / ".good", base / ".bad"
    shutil.copytree(toy, good)
    shutil.copytree(toy, bad)
    warm_up(good, REQUEST)
    warm_up(bad, encoded_request([b"\xff\xd8\xff not a JPEG"], [[b"red"]]))
    with serving(base, **POLL) as server:
        publish(bad, base, 2)
        wait_until(lambda: state(server, 2) == "END")
        publish(good, base, 3)
        wait_until(lambda: state(server, 3) == "AVAILABLE")


def test_at_the_start_a_broken_latest_version_gives_way_to_the_one_before(toy, base):
    publish(toy, base, 2)
    (base / "2" / "saved_model.pb").write_bytes(b"\x07")
    with serving(base) as server:
        assert server.versions.available == 1


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda base: (base / "notes").mkdir(), "no version in it"),
        (lambda base: (base / "1").mkdir(), "no saved_model.pb"),
        (lambda base: ((base / "1").mkdir(), (base / "1" / "saved_model.pb").touch()), "variables.index"),
    ],
)
def test_a_server_without_a_model_does_not_start(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(UserError, match=words), serving(tmp_path):
        pass


def test_a_version_with_a_shard_missing_is_not_whole(toy, base):
    variables = base / "1" / "variables"
    (variables / "variables.data-00000-of-00001").rename(variables / "variables.data-00000-of-00002")
    assert version_folder.missing(version_folder.scan(base)[1]) == "1 of 2 files variables/variables.data-*"


def test_versions_differ_in_what_they_answer(tmp_path):
    save_toy(tmp_path / "1")
    save_toy(tmp_path / "2", offset=1.0)
    with serving(tmp_path) as server:
        channel, service = stub(server)
        with channel:
            response = service.Predict(encoded_request([png(colour=(51, 0, 0))], [[b"red"]]))
        assert list(response.outputs["score"].float_val) == pytest.approx([0.4])
