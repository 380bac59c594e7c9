"""A conversion that is killed, interrupted, or out of disk: nothing looks finished, and it goes on."""

import errno
import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cmask_tf import cli
from cmask_tf.data import conversion
from cmask_tf.data.records import RecordSet
from cmask_tf.errors import UserError

SHARDS = 7
# Runs the command, and dies at the given call of `publish`: before or after the file got its name.
KILLED = """
import os, signal, sys
from cmask_tf.cli import main
from cmask_tf.data import claim, conversion
calls, publish = 0, claim.publish
def killing(beside, path):
    global calls
    calls += 1
    if calls == {call} and {before}: os.kill(os.getpid(), signal.SIGKILL)
    publish(beside, path)
    if calls == {call}: os.kill(os.getpid(), signal.SIGKILL)
claim.publish = conversion.publish = killing
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def arguments(tmp_path):
    """`cmask data tags` on thirty photos: one is not there, one is broken, one has two lines."""
    images = tmp_path / "images"
    images.mkdir()
    lines = [json.dumps({"image": f"{i}.jpg", "tags": [f"t{i % 5}", "sky"]}) for i in [*range(30), 3]]
    (tmp_path / "tags.jsonl").write_text("\n".join(lines))
    for i in range(29):
        Image.new("RGB", (10, 8), (i, 0, 0)).save(images / f"{i}.jpg")
    (images / "11.jpg").write_text("not a photo")
    arguments = f"data tags --tags {tmp_path}/tags.jsonl --images {images} --shards {SHARDS} --json"
    return arguments.split()


@pytest.fixture(autouse=True)
def interruptible():
    """A job in the background is started deaf to Ctrl-C, and so would these tests be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(arguments, out):
    return cli.main([*arguments, "--out", str(out)])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def work(out):
    return out.with_name(out.name + ".partial")


def left_over(out):
    return [path.name for path in out.parent.iterdir() if path.name.startswith(out.name + ".")]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_killed_conversion_goes_on_and_ends_as_if_nothing_had_been(arguments, tmp_path, seed):
    assert run(arguments, tmp_path / "undisturbed") == 0
    drawn, out = random.Random(seed), tmp_path / "out"
    # claim.json is published first, then a shard and its counts in turn, then the index.
    code = KILLED.format(call=drawn.randrange(2, 2 * SHARDS + 2), before=drawn.random() < 0.5)
    command = [sys.executable, "-c", code, *arguments, "--out", str(out)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    with pytest.raises(UserError, match="unfinished"):
        RecordSet.open(out)
    finished = {path.name: path.stat().st_mtime_ns for path in work(out).glob("*.tfrecord")}
    assert run(arguments, out) == 0
    assert content(out) == content(tmp_path / "undisturbed")
    assert left_over(out) == []
    counted = {name for name in finished if (out / name).stat().st_mtime_ns == finished[name]}
    assert len(finished) - len(counted) <= 1, "finished shards were written again"


def at_shard(monkeypatch, number, act):
    """Calls `act` in the place of giving shard `number`, from 0, its name."""
    publish = conversion.publish

    def acting(beside, path):
        if path.name.startswith(f"records-{number:05d}"):
            act()
        publish(beside, path)

    monkeypatch.setattr(conversion, "publish", acting)


def test_an_interrupt_says_how_to_go_on(arguments, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        at_shard(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        assert run(arguments, out) == 130
    told = [line for line in capsys.readouterr().err.splitlines() if "cmask" in line]
    assert told == [f"cmask: interrupted: {out} is not finished; run the same command to go on"]
    assert len(list(work(out).glob("*.tfrecord.json"))) == 3
    assert run(arguments, out) == 0
    assert json.loads(capsys.readouterr().out)[str(out)]["examples"] == 28


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_and_nothing_looks_finished(arguments, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        at_shard(patch, 3, full)
        assert run(arguments, out) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "cmask" in line]
    assert told == [f"cmask: error: {out}: cannot be written (No space left on device)"]
    assert not out.exists()
    assert run(arguments, out) == 0


def test_a_disk_that_is_full_while_reading_leaves_nothing(arguments, tmp_path, monkeypatch, capsys):
    def full_database(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("cmask_tf.data.spool.Spool.add_tag", full_database)
    assert run(arguments, tmp_path / "out") == 2
    assert "out: cannot be written (database or disk is full)" in capsys.readouterr().err
    assert left_over(tmp_path / "out") == []


def interrupted(arguments, out, monkeypatch):
    with monkeypatch.context() as patch:
        at_shard(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        assert run(arguments, out) == 130
    return len(list(work(out).glob("*.tfrecord.json")))


def shards_written(arguments, out, monkeypatch):
    """Runs the command; the number of shards that it wrote itself."""
    written, publish = [], conversion.publish
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "publish", lambda *files: (written.append(files), publish(*files)))
        assert run(arguments, out) == 0
    return len(written)


def test_the_same_inputs_go_on(arguments, tmp_path, monkeypatch):
    done = interrupted(arguments, tmp_path / "out", monkeypatch)
    assert shards_written(arguments, tmp_path / "out", monkeypatch) == SHARDS - done == 4


def rewrite(folder):
    path = folder / "tags.jsonl"
    path.write_text(path.read_text().replace("sky", "sea"))
    os.utime(path, ns=(0, 0))


def add_photo(folder):
    os.utime(folder / "images", ns=(0, 0))


@pytest.mark.parametrize("change", [rewrite, add_photo])
def test_changed_files_start_over(arguments, tmp_path, monkeypatch, change):
    interrupted(arguments, tmp_path / "out", monkeypatch)
    change(tmp_path)
    assert shards_written(arguments, tmp_path / "out", monkeypatch) == SHARDS
    run(arguments, tmp_path / "new")
    assert content(tmp_path / "out") == content(tmp_path / "new")


@pytest.mark.parametrize("option", [["--no-fold"], ["--shards", "6"]])
def test_other_arguments_start_over(arguments, tmp_path, monkeypatch, option):
    interrupted(arguments, tmp_path / "out", monkeypatch)
    shards = int(option[1]) if len(option) == 2 else SHARDS
    assert shards_written(arguments + option, tmp_path / "out", monkeypatch) == shards


def test_a_shard_that_lost_its_end_is_written_again(arguments, tmp_path, monkeypatch):
    interrupted(arguments, tmp_path / "out", monkeypatch)
    shard = next(work(tmp_path / "out").glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-20])
    run(arguments, tmp_path / "new")
    assert shards_written(arguments, tmp_path / "out", monkeypatch) == SHARDS - 2
    assert content(tmp_path / "out") == content(tmp_path / "new")


def test_output_below_the_folder_of_photos_goes_on_too(arguments, tmp_path, monkeypatch):
    """Making the work folder changes the time of the folder that holds it."""
    out = tmp_path / "images" / "out"
    done = interrupted(arguments, out, monkeypatch)
    assert shards_written(arguments, out, monkeypatch) == SHARDS - done


def test_two_processes_do_not_write_one_set(arguments, tmp_path, capsys):
    out = tmp_path / "out"
    work(out).mkdir()
    handle = os.open(work(out), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert run(arguments, out) == 2
    finally:
        os.close(handle)
    assert f"{out}: another process is writing it" in capsys.readouterr().err
    assert run(arguments, out) == 0
