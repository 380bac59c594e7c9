"""From tags, boxes and masks to a mask: the three stages on a small ConceptWorld, by their own commands."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.cli import main as cmask
from cmask_tf.data import attention_records

# Three trainings before the first test, and more in it: on a busy machine minutes.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parent.parent
SMALL = [
    "attention.sizes=[64, 96]", "backbone.output_stride=16", "segmentation.size=64",
    "embed.epochs=1", "refine.epochs=1", "segment.epochs=1", "segment.batch=32",
]  # fmt: skip
OVERRIDES = [word for override in SMALL for word in ("--set", override)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data folder, its records and its vocabulary."""
    folder = tmp_path_factory.mktemp("pipeline")
    assert cmask(["data", "world", "--scenes", "80", "--out", str(folder / "world")]) == 0
    assert cmask(["data", "prepare", str(folder / "world"), "--out", str(folder / "records")]) == 0
    tags = folder / "world/tags/all_tags_for_pmi.jsonl"
    vocabulary = ["vocabulary", "build", str(tags), "--dim", "16", "--out", str(folder / "vocabulary")]
    assert cmask([*vocabulary, "--kinds", str(folder / "world/concepts.json")]) == 0
    return folder


def embedding_arguments(folder: Path, out: Path) -> list[str]:
    given = ["--data", str(folder / "records"), "--vocabulary", str(folder / "vocabulary")]
    return [*given, "--config", "tiny", "--out", str(out), *OVERRIDES]


@pytest.fixture(scope="module")
def model(folder) -> Path:
    """A model directory from all three stages."""
    data = ["--data", str(folder / "records")]
    embedding, refine, model = (folder / name for name in ("embedding", "refine", "model"))
    assert cmask(["train", "embedding", *embedding_arguments(folder, embedding)]) == 0
    assert cmask(["train", "refine", *data, "--from", str(embedding), "--out", str(refine)]) == 0
    assert cmask(["train", "segmentation", *data, "--from", str(refine), "--out", str(model)]) == 0
    return model


def test_the_model_directory_tells_where_it_came_from(folder, model):
    provenance = json.loads((model / "provenance.json").read_text())
    assert set(provenance) == {"embedding", "refine", "segmentation"}
    assert provenance["embedding"]["records"]["tags"] == 64
    assert "val_iou_mask" in provenance["segmentation"]["validation"][0]
    thetas = json.loads((model / "mixing.json").read_text())["theta"]
    assert set(thetas) == {"image", "zero"} and all(0 <= theta <= 1 for theta in thetas.values())


def test_the_trained_concepts_have_the_levels_of_their_annotation(folder, model):
    truth = json.loads((folder / "world/concepts.json").read_text())
    trained = json.loads((model / "concepts.json").read_text())
    assert trained and all(truth[c["name"]]["level"] == c["level"] for c in trained)
    assert all(truth[c["name"]]["kind"] == c["kind"] for c in trained)
    assert "zero" not in {c["level"] for c in trained}


def test_an_unseen_picture_is_segmented(folder, model, tmp_path):
    photo = sorted((folder / "world/images/test").iterdir())[0]
    words = ["--concept", "sky", "--concept", "house"]
    assert cmask(["segment", str(photo), *words, "--model", str(model), "--out", str(tmp_path)]) == 0
    shape = cv2.imread(str(photo)).shape[:2]
    for word in ("sky", "house"):
        mask = cv2.imread(str(tmp_path / f"{photo.stem}.{word}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == shape and set(np.unique(mask)) <= {0, 255}
    assert (tmp_path / f"{photo.stem}.overlay.png").is_file()


def test_evaluation_compares_every_level_with_the_baselines(folder, model, tmp_path):
    truth = folder / "world/coco/concept_masks_test.json"
    given = ["--model", str(model), "--images", str(folder / "world/images/test"), "--masks", str(truth)]
    assert (
        cmask(["evaluate", *given, "--baselines", str(folder / "records"), "--out", str(tmp_path / "out")])
        == 0
    )
    levels = json.loads((tmp_path / "out/metrics.json").read_text())["levels"]
    assert set(levels) <= {"mask", "box", "image", "zero"} and "mask" in levels
    assert (tmp_path / "out/report.md").is_file()


def test_a_finished_stage_is_not_trained_again(folder, model, capsys):
    before = (folder / "embedding/backbone.weights.h5").stat().st_mtime_ns
    assert cmask(["train", "embedding", *embedding_arguments(folder, folder / "embedding")]) == 0
    assert "finished already" in capsys.readouterr().out
    assert (folder / "embedding/backbone.weights.h5").stat().st_mtime_ns == before


def test_lite_learns_from_boxes_too_what_has_no_masks(folder, model, tmp_path):
    given = [
        "--data",
        str(folder / "records"),
        "--from",
        str(folder / "refine"),
        "--out",
        str(tmp_path / "out"),
    ]
    design = ["segmentation.design=lite", "segment.box_weight=1", "segment.batch=8", "verification.hidden=0"]
    changes = [word for override in design for word in ("--set", override)]
    assert cmask(["train", "segmentation", *given, *changes]) == 0
    learnt = json.loads((tmp_path / "out.run/history.json").read_text())["train"][-1]
    assert learnt["loss"] == pytest.approx(learnt["mask"] + learnt["dice"] + learnt["box"], rel=1e-4)
    assert learnt["box"] > 0
    levels = {c["name"]: c["level"] for c in json.loads((model / "concepts.json").read_text())}
    for name, level in (("masks", "mask"), ("boxes", "box")):
        files = map(str, (tmp_path / f"out.run/attention-{name}").glob("*.tfrecord"))
        records = [attention_records.parse(one) for one in tf.data.TFRecordDataset(list(files))]
        assert {levels[word.decode()] for one in records for word in one["concepts"].numpy()} == {level}
    assert not (folder / "model.run/attention-boxes").exists()  # the paper's design has masks alone


def test_another_config_does_not_overwrite_a_finished_stage(folder, model, capsys):
    other = [*embedding_arguments(folder, folder / "embedding"), "--set", "embed.epochs=2"]
    assert cmask(["train", "embedding", *other]) == 2
    assert "was trained with another config" in capsys.readouterr().err


def test_a_stage_does_not_start_from_networks_of_another_config(folder, model, tmp_path, capsys):
    data = ["--data", str(folder / "records"), "--from", str(folder / "embedding")]
    wider = ["--set", "backbone.width=0.5", "--out", str(tmp_path / "out")]
    assert cmask(["train", "refine", *data, *wider]) == 2
    assert "was trained with another backbone" in capsys.readouterr().err


def test_a_stage_starts_from_an_earlier_run_in_float16(folder, model, tmp_path):
    still = ["--start-from", str(model), "--set", "embed.learning_rate=0", "--set", "precision=mixed_float16"]
    assert cmask(["train", "embedding", *embedding_arguments(folder, tmp_path / "out"), *still]) == 0
    for name in ("backbone", "embedding"):
        old_file, new_file = (d / f"{name}.weights.h5" for d in (model, tmp_path / "out"))
        with h5py.File(old_file) as old, h5py.File(new_file) as new:
            for path in ("layers/conv2d/vars/0", "layers/conv2d_1/vars/0", "layers/conv2d_2/vars/0"):
                np.testing.assert_array_equal(new[path], old[path])
    provenance = json.loads((tmp_path / "out/provenance.json").read_text())["embedding"]
    digest = hashlib.sha256((model / "backbone.weights.h5").read_bytes()).hexdigest()
    first = provenance["weights"][0]
    assert (first["network"], first["source"]) == ("backbone", str(model))
    assert first["files"] == {"backbone.weights.h5": f"sha256:{digest}"}


def test_a_network_to_start_from_that_does_not_fit_is_one_line(folder, model, tmp_path, capsys):
    wider = ["--start-from", str(model), "--set", "embedding.hidden=[32, 32]"]
    assert cmask(["train", "embedding", *embedding_arguments(folder, tmp_path / "out"), *wider]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "embedding.weights.h5: not the weights of this embedding: fc1/kernel has shape" in said
    absent = ["--start-from", str(folder / "embedding")]
    data = ["--data", str(folder / "records"), "--from", str(folder / "embedding")]
    assert cmask(["train", "refine", *data, *absent, "--out", str(tmp_path / "out")]) == 2
    assert "embedding/refinement.weights.h5: no such file" in capsys.readouterr().err


def test_work_of_another_run_is_not_taken_up(folder, tmp_path, capsys):
    work = tmp_path / "out.run"
    work.mkdir()
    (work / "claim.json").write_text("{}")
    assert cmask(["train", "embedding", *embedding_arguments(folder, tmp_path / "out")]) == 2
    assert "work of a run with another config or other data" in capsys.readouterr().err


def test_a_misspelt_field_is_one_line_and_leaves_nothing(folder, tmp_path):
    script = [sys.executable, str(ROOT / "trainers/train_embedding.py")]
    wrong = [*embedding_arguments(folder, tmp_path / "out"), "--set", "embed.epoch=3"]
    done = subprocess.run([*script, *wrong], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "cmask: error: --set embed.epoch=3: no config field 'embed.epoch'\n"
    assert list(tmp_path.iterdir()) == []


class Trainer:
    """Stage 1 in a process of its own: deterministic, three epochs, a checkpoint every two steps."""

    def __init__(self, folder: Path, out: Path):
        self.out = out
        self.log = out.with_name(out.name + ".log")
        given = embedding_arguments(folder, out) + ["--set", "embed.epochs=3", "--set", "embed.batch=10"]
        self.command = [sys.executable, str(ROOT / "trainers/train_embedding.py"), *given]
        self.command += ["--deterministic", "--checkpoint-every", "2"]

    def start(self) -> subprocess.Popen:
        # A file and not a pipe, which nobody reads while the trainer fills it.
        with self.log.open("wb") as log:
            return subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log)

    def kill_in_epoch_two(self) -> None:
        """SIGKILL in the second of three epochs: of 7 steps each, and the sixth checkpoint is step 10's."""
        process = self.start()
        checkpoints = self.out.with_name(self.out.name + ".run") / "checkpoints"
        for _ in range(2400):
            if any(int(f.stem.split("-")[1]) >= 6 for f in checkpoints.glob("ckpt-*.index")):
                break
            assert process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not self.out.exists()

    def history(self) -> list[dict]:
        file = self.out.with_name(self.out.name + ".run") / "history.json"
        return json.loads(file.read_text())["train"]

    def weights(self) -> dict[str, np.ndarray]:
        found = {}
        for name in ("backbone", "embedding"):
            with h5py.File(self.out / f"{name}.weights.h5") as file:
                file.visititems(
                    lambda path, item, name=name: (
                        found.update({f"{name}/{path}": item[()]}) if isinstance(item, h5py.Dataset) else None
                    )
                )
        return found


def test_a_killed_trainer_ends_where_an_undisturbed_one_ends(folder, tmp_path):
    undisturbed, killed = Trainer(folder, tmp_path / "undisturbed"), Trainer(folder, tmp_path / "killed")
    whole = undisturbed.start()
    killed.kill_in_epoch_two()
    assert whole.wait() == 0, undisturbed.log.read_text()
    assert killed.start().wait() == 0, killed.log.read_text()
    losses = [[epoch["loss"] for epoch in run.history()] for run in (undisturbed, killed)]
    assert len(losses[0]) == 3
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    expected, found = undisturbed.weights(), killed.weights()
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
