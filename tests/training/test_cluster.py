"""Several hosts: TF_CONFIG, waiting for each other, and two real workers of which one is killed.

Run as a script it is one of the workers, with TF_CONFIG: `test_cluster.py OUT [killed]`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cmask_tf.errors import LostHost, UserError
from cmask_tf.training import cluster, loop
from cmask_tf.training.cluster import Cluster
from cmask_tf.training.failures import told
from cmask_tf.training.strategy import make_strategy

sys.path.insert(0, str(Path(__file__).parent))
from test_strategy import free_ports  # noqa: E402
from toy_task import SCHEDULE, ToyTask, kill_in_the_second_epoch  # noqa: E402


def configure(monkeypatch, workers, index=0):
    config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))


@pytest.mark.parametrize(
    "text", ["{", '{"cluster": {"worker": ["a:1", "b:2"]}}', '{"cluster": {"worker": ["a", "b"]}, "task": '
             '{"type": "worker", "index": 0}}', '{"cluster": {"worker": ["a:1", "b:2"]}, "task": '
             '{"type": "worker", "index": 2}}']
)  # fmt: skip
def test_a_wrong_tf_config_is_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="TF_CONFIG: expected a JSON object with 'cluster'"):
        Cluster.from_environment()


def test_the_chief_comes_first_and_one_host_is_no_cluster(monkeypatch):
    jobs = {"worker": ["b:2"], "chief": ["a:1"], "evaluator": ["c:3"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": task}))
    found = Cluster.from_environment()
    assert list(found.addresses.items()) == [(("chief", 0), "a:1"), (("worker", 0), "b:2")]
    assert found.me == ("worker", 0)
    configure(monkeypatch, ["a:1"])
    assert Cluster.from_environment() is None


def test_a_host_that_never_comes_is_named_after_the_wait(monkeypatch):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    configure(monkeypatch, workers)
    began = time.monotonic()
    with pytest.raises(LostHost) as caught:
        make_strategy(wait=1)
    assert time.monotonic() - began < 20
    assert f"waited 1 s for worker 1 ({workers[1]})" in str(caught.value)
    assert caught.value.exit_code == 75 and "\n" not in str(caught.value)


def test_a_process_that_waits_inside_tensorflow_is_ended_from_outside():
    code = "import time; from cmask_tf.training.cluster import _ended_after\n"
    code += "with _ended_after(1, 'cmask: error: too long'): time.sleep(100)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert "cmask: error: too long" in done.stderr.splitlines()


def worker(out: Path, killed: bool) -> None:
    """Trains the toy task; the one to be killed goes in the second epoch, after its first checkpoint."""
    task = ToyTask(make_strategy(wait=60))
    if killed:
        kill_in_the_second_epoch()
    try:
        with told(out, list):
            history = loop.train(
                task, SCHEDULE, out, task.where, checkpoint_every_steps=3, deterministic=True
            )
            cluster.wait_for_all(task.where, "end")
    except UserError as error:
        print(f"cmask: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    me = Cluster.from_environment().me[1]
    np.savez(out.with_name(f"weights-{me}.npz"), *task.weights())
    print(json.dumps(history))


def start(out: Path, killed: int | None = None) -> list[subprocess.CompletedProcess]:
    """Runs two workers to their ends; `killed` is the one that is."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    children = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "3"}
        root = Path(__file__).parents[2]
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{root / 'tests'}"
        command = [sys.executable, __file__, str(out), *(["killed"] if index == killed else [])]
        log = out.with_name(f"{index}.log").open("w")
        children.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        )
    outputs = [child.communicate(timeout=200)[0] for child in children]
    return [
        subprocess.CompletedProcess(
            child.args, child.returncode, output, out.with_name(f"{index}.log").read_text()
        )
        for index, (child, output) in enumerate(zip(children, outputs, strict=True))
    ]


def test_a_killed_worker_is_named_and_both_go_on_to_the_weights_of_one_process(tmp_path):
    """AdamW over 12 steps: the hosts agree bit by bit, and with one process to 1e-5."""
    out = tmp_path / "run"
    first = start(out, killed=1)
    assert first[1].returncode == -signal.SIGKILL
    assert first[0].returncode == LostHost.exit_code, first[0].stderr
    assert "Traceback" not in first[0].stderr
    (line,) = [line for line in first[0].stderr.splitlines() if line.startswith("cmask: error")]
    assert "lost worker 1 (127.0.0.1:" in line and "same command" in line

    again = start(out)
    assert [child.returncode for child in again] == [0, 0], again[0].stderr[-3000:] + again[1].stderr[-3000:]
    with np.load(tmp_path / "weights-0.npz") as chief, np.load(tmp_path / "weights-1.npz") as other:
        weights = [chief[name] for name in chief.files]
        for ours, theirs in zip(weights, (other[name] for name in other.files), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    alone = ToyTask()
    history = loop.train(alone, SCHEDULE, tmp_path / "alone", alone.where, deterministic=True)
    for ours, theirs in zip(weights, alone.weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for child in again:
        found = json.loads(child.stdout.splitlines()[-1])["train"]
        assert [e["loss"] for e in found] == pytest.approx([e["loss"] for e in history["train"]], rel=1e-5)
    assert {path.name for path in out.iterdir()} == {"checkpoints", "tensorboard", "history.json"}


if __name__ == "__main__":
    worker(Path(sys.argv[1]), killed="killed" in sys.argv)
