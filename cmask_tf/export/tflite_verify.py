"""TFLite files, read by a fresh process that has no TensorFlow, answer as the model does on a photo."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib import cbook

from cmask_tf import geometry
from cmask_tf.errors import UserError
from cmask_tf.export import tflite_run
from cmask_tf.export.verify import PHOTO, outside
from cmask_tf.imageio import read_image
from cmask_tf.segmenter import ConceptSegmenter

_WORDS = 8  # that are compared, evenly spread over the vocabulary


@dataclass(frozen=True)
class Agreement:
    """How far the files' answers are from the model's, over the steps and `one_shot`.

    Attributes:
        mask: mean difference of a probability.
        score: largest difference of a score.
        spread: standard deviation of the model's probabilities, for comparison.
    """

    mask: float
    score: float
    spread: float


# Mean difference of a probability as a share of the spread, and largest difference of a score. What quantised
# files cost is to be measured on photos with masks; here only those that are broken are told apart.
ALLOWED = {"float32": (1e-4, 1e-4), "float16": (0.05, 0.05), "dynamic": (0.25, 0.25), "int8": (0.5, 0.5)}


def verify(directory: Path, segmenter: ConceptSegmenter, variant: str, out: Path) -> Agreement:
    """Compares the files' masks and scores: words spread over the vocabulary, and a vector outside it.

    Args:
        directory: of the files.
        segmenter: of the model directory they were made from.
        variant: a key of `ALLOWED`.
        out: where the files are to go, for messages.

    Raises:
        UserError: a fresh process cannot use them, or they answer something else.
    """
    model, known = segmenter.model, segmenter.vocabulary.vectors
    places = np.unique(np.linspace(0, len(known) - 1, _WORDS).round().astype(int))
    vectors = np.concatenate([known[places], outside(known)[np.newaxis]])
    image = read_image(Path(cbook.get_sample_data(PHOTO, asfileobj=False)))[np.newaxis]
    sizes = {*model.sizes, model.size}
    squares = {f"image_{size}": geometry.resize_image(image, size).numpy() for size in sizes}
    answers = _ask_fresh_process(directory, {"squares": squares, "vectors": vectors}, out)

    features, parameters = model.encode(image), model.resolve(vectors)
    masks, scores, _ = model.decode(features, parameters, tf.zeros(len(vectors), tf.int32))
    masks, scores = masks.numpy(), scores.numpy()
    found = Agreement(
        mask=max(float(np.abs(given - masks).mean()) for given, _ in answers.values()),
        score=max(float(np.abs(given - scores).max()) for _, given in answers.values()),
        spread=float(masks.std()),
    )
    check(found, variant, out)
    return found


def check(found: Agreement, variant: str, out: Path) -> None:
    """Raises a UserError that names `out` where the agreement is not as good as allowed, or no number."""
    share, most = ALLOWED[variant]
    for name, difference, bound in (
        ("masks", found.mask, share * found.spread),
        ("scores", found.score, most),
    ):
        if not difference <= bound:
            raise UserError(
                f"{out}: nothing was written: read again, the {variant} files' {name} differ from the "
                f"model's by {difference:.2g}, allowed is {bound:.2g}"
            )


def _ask_fresh_process(directory: Path, request: dict, out: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "request", Path(folder) / "answer"
        asked.write_bytes(pickle.dumps(request))
        command = [sys.executable, "-P", tflite_run.__file__, str(directory), str(asked), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"{out}: nothing was written: a fresh process cannot use the files ({reason})")
        return pickle.loads(answered.read_bytes())
