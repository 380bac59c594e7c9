"""What goes wrong in a training of days: each fault has one clear line, and the run goes on afterwards."""

import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from toy_task import SCHEDULE, ToyTask, train

from cmask_tf import losses
from cmask_tf.data import damage, pipelines, schema, unreadable
from cmask_tf.data.sources import Annotated
from cmask_tf.data.topics import Topics
from cmask_tf.errors import UserError
from cmask_tf.training.failures import told
from cmask_tf.training.progress import ProgressBar, TensorBoard

SIZE = 8


@contextmanager
def files_of_at_most(size):
    """Writing beyond `size` bytes of any file fails as on a full disk (EFBIG in place of ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    task = ToyTask()
    train(task, tmp_path_factory.mktemp("undisturbed"))
    return task.weights()


def assert_goes_on(out, undisturbed):
    task = ToyTask()
    history = train(task, out)
    assert len(history["train"]) == SCHEDULE.epochs
    for ours, theirs in zip(task.weights(), undisturbed, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def stop_at(monkeypatch, place, exception=KeyboardInterrupt):
    update = ProgressBar.update

    def stop(self, epoch, step, terms):
        update(self, epoch, step, terms)
        if (epoch, step) == place:
            raise exception

    monkeypatch.setattr(ProgressBar, "update", stop)


def test_a_disk_that_fills_up_during_a_checkpoint(tmp_path, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, (1, 1))  # after the checkpoints of steps 3 and 4
        with pytest.raises(KeyboardInterrupt):
            train(ToyTask(), tmp_path)
    before = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    with pytest.raises(UserError) as caught, files_of_at_most(1500), told(tmp_path, list):
        train(ToyTask(), tmp_path)
    assert str(tmp_path / "checkpoints") in str(caught.value)
    assert "cannot be written (File too large); put that right and run the same" in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == before
    assert_goes_on(tmp_path, undisturbed)


def test_a_disk_that_fills_up_while_tensorboard_is_written(tmp_path):
    """TensorFlow tells it with one of the next writes."""
    board = TensorBoard(tmp_path / "tensorboard")
    photos = {"photo": np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)}
    with pytest.raises(UserError) as caught, files_of_at_most(2000), told(tmp_path, list):
        for step in range(3):
            board.pictures(photos, step)
            board.scalars("train", {"loss": 1.0}, step)
        board.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert str(caught.value).startswith(f"{events}: cannot be written (File too large)")


_WRITES_A_MODEL = """
import resource, sys
from pathlib import Path
import keras
from cmask_tf.errors import UserError
from cmask_tf.training.failures import told

out = Path(sys.argv[1])
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    with told(out, list):
        model.save_weights(out / "part.weights.h5")
except UserError as error:
    print(error, flush=True)
"""


def test_a_disk_that_fills_up_while_a_model_is_written(tmp_path):
    """In a process of its own: HDF5 keeps the file that it could not write, and crashes with a later one."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _WRITES_A_MODEL, str(tmp_path)]
    told_line = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True).stdout.strip()
    assert told_line.startswith(str(tmp_path)) and len(told_line.splitlines()) == 1
    assert "cannot be written (File too large)" in told_line


def damaged(path: Path, how: str) -> None:
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)


@pytest.mark.parametrize(("suffix", "how"), [("data*", "cut off"), ("data*", "altered"), ("index", "cut off"),
                                             ("index", "empty")])  # fmt: skip
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path, undisturbed, monkeypatch, capsys, suffix, how
):
    with monkeypatch.context() as patch:
        stop_at(patch, (1, 3))  # after the checkpoints of steps 4 and 6
        with pytest.raises(KeyboardInterrupt):
            train(ToyTask(), tmp_path)
    newest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    (file,) = Path(newest).parent.glob(f"{Path(newest).name}.{suffix}")
    damaged(file, how)
    assert_goes_on(tmp_path, undisturbed)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert line.startswith(f"{newest}: damaged") and "the checkpoint before it" in line


def test_when_no_checkpoint_can_be_read_nothing_is_started_over_unasked(tmp_path):
    train(ToyTask(), tmp_path)
    for file in (tmp_path / "checkpoints").glob("*.index"):
        damaged(file, "empty")
    with pytest.raises(UserError, match="none of the checkpoints can be read; remove the folder"):
        train(ToyTask(), tmp_path)


class SpoiltGradient(ToyTask):
    """The loss stays finite, and its gradient is not a number from the second step of the second epoch on."""

    def batches(self, epoch, skip):
        def spoil(step, batch):
            bad = float(epoch == 1) * tf.cast(step + skip == 1, tf.float32)
            return {**batch, "spoilt": tf.fill(tf.shape(batch["truth"]), bad)}

        return super().batches(epoch, skip).enumerate().map(spoil)

    def loss(self, batch):
        total, terms = super().loss(batch)

        @tf.custom_gradient
        def spoil(value):
            return tf.identity(value), lambda slope: tf.where(batch["spoilt"] > 0, np.nan, slope)

        return spoil(total), terms


def test_a_gradient_that_is_not_a_number_ends_the_run_before_it_is_saved(tmp_path, undisturbed):
    with pytest.raises(UserError, match=r"epoch 2, step 2: gradient is nan; expected a finite number"):
        train(SpoiltGradient(), tmp_path)
    assert_goes_on(tmp_path, undisturbed)


def save(tmp_path, encoded: list[bytes]) -> Path:
    file = tmp_path / "photos.tfrecord"
    with tf.io.TFRecordWriter(str(file)) as writer:
        for number, one in enumerate(encoded):
            photo = Annotated(tmp_path / f"{number}.jpg", str(number), SIZE, SIZE, (), ("hat",))
            writer.write(schema.encode(photo, one))
    return file


def jpeg(level: int) -> bytes:
    return tf.io.encode_jpeg(tf.fill([SIZE, SIZE, 3], tf.cast(level, tf.uint8))).numpy()


def read(file: Path, **order) -> list[dict]:
    records = SimpleNamespace(files=[str(file)])
    topics = Topics({"hat": 0}, np.ones(1), np.ones((1, 1), np.float32))
    batches = pipelines.embedding_batches(records, topics, SIZE, 4, seed=0, epoch=0, **order)
    with told(file.parent, lambda: [str(file)]):
        return list(batches.as_numpy_iterator())


def test_a_record_file_that_is_cut_off_or_altered_is_named_with_the_record(tmp_path):
    file = save(tmp_path, [jpeg(level) for level in range(10)])
    whole = file.read_bytes()
    assert damage.find_damage([str(file)]) is None
    file.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(UserError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: record 8 is cut off; the file has ")
    changed = bytearray(whole)
    changed[len(whole) * 3 // 4 + 40] ^= 255
    file.write_bytes(changed)
    with pytest.raises(UserError, match=f"{file}: record 8: its bytes are not those that were written; make"):
        read(file)


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has met no bad photo yet."""
    noted = unreadable.Unreadable()
    monkeypatch.setattr(unreadable, "UNREADABLE", noted)
    monkeypatch.setattr("cmask_tf.training.failures.UNREADABLE", noted)
    return noted


@pytest.mark.parametrize("broken", [jpeg(1)[:-200], b"", b"<html>", b"\xff\xd8\xff no photo"])
def test_a_photo_that_does_not_decode_stays_as_one_without_concepts(tmp_path, fresh, capsys, broken):
    file = save(tmp_path, [jpeg(0), broken, jpeg(2), jpeg(3), jpeg(4)])
    for _ in range(2):
        batches = read(file, train=False)
        assert [len(batch["topic"]) for batch in batches] == [4, 1]
        assert batches[0]["topic"][:, 0].tolist() == [1, 0, 1, 1]
        assert not batches[0]["image"][1].any()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "photo 1.jpg of the records cannot be decoded; it counts as a photo without concepts"
    assert list(fresh.names) == ["1.jpg"]


def test_records_without_readable_photos_are_the_wrong_ones(tmp_path, fresh):
    file = save(tmp_path, [b"RIFF....WEBP"] * 40)
    with pytest.raises(UserError, match=r"photo \d+.jpg of the records cannot be decoded, nor 10 others"):
        read(file)


def test_a_broken_header_between_whole_ends_is_named(tmp_path, fresh):
    broken = jpeg(1)
    file = save(tmp_path, [jpeg(0), broken[:3] + bytes(40) + broken[43:]])
    with pytest.raises(UserError, match=f"{file}: record 2: its photo cannot be decoded"):
        read(file)


def finite_and_zero(loss, sources, tape):
    assert np.all(loss.numpy() == 0)
    for gradient in tape.gradient(loss, sources):
        assert gradient is None or not np.any(gradient.numpy())


def test_an_image_with_no_usable_concept_has_no_loss_and_no_gradient():
    """Stage 1: no known tag, a null topic. Stage 2: no known box. Stage 3: a mask that is all crowd."""
    embedding = tf.Variable(np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = losses.cosine_embedding(embedding, tf.zeros([2, 5]))
    finite_and_zero(loss, [embedding], tape)
    logits, none = tf.Variable(tf.ones([2, 3, 3, 4])), tf.constant([[-1], [-1]])
    with tf.GradientTape() as tape:
        loss = losses.annotated(logits, none, tf.zeros([2, 3, 3, 1]))
        loss += losses.dice(logits, none, tf.zeros([2, 3, 3, 1]))
        loss += losses.spatial_discrimination(logits, none, tf.zeros([2, 3, 3, 1]), tf.ones([4, 4]), False)
    finite_and_zero(loss, [logits], tape)
    logits = tf.Variable(tf.ones([2, 3, 3, 1]))
    with tf.GradientTape() as tape:
        loss = losses.mask_loss(logits, tf.zeros([2, 3, 3, 1]), tf.zeros([2, 3, 3, 1]))
    finite_and_zero(loss, [logits], tape)


def test_only_what_a_person_can_put_right_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="a mistake"), told(tmp_path, list):
        raise ValueError("a mistake")
    with pytest.raises(tf.errors.InvalidArgumentError), told(tmp_path, list):
        tf.reshape(tf.zeros([2]), [3])
