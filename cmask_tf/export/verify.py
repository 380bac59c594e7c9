"""A written SavedModel, read again by a fresh process, answers as `ConceptSegmenter` does on a photo."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import cbook
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.export import reload
from cmask_tf.imageio import read_image
from cmask_tf.segmenter import ConceptSegmenter, Segmentation
from cmask_tf.vocabulary.artefact import Vocabulary

PHOTO = (
    "grace_hopper.jpg"  # of matplotlib, which the package needs anyway: 512 x 606 px, in the public domain
)
_WORDS = 8  # that are compared, evenly spread over the vocabulary
_LEVEL = 1 / 255  # of an 8-bit mask


@dataclass(frozen=True)
class Agreement:
    """How far the files' answers are from the model's, over all signatures.

    Attributes:
        mask: largest difference of a probability, where masks are float32.
        score: largest difference of a score.
        attention: largest difference of an attention value.
        iou: mean IoU of the masks at 0.5.
    """

    mask: float
    score: float
    attention: float
    iou: float


# Of float16 weights only that the masks stay the same ones: single pixels move by more.
EXACT = Agreement(mask=1e-3, score=1e-3, attention=1e-3, iou=0.999)
ROUNDED = Agreement(mask=0.2, score=0.05, attention=0.1, iou=0.95)


def verify(directory: Path, segmenter: ConceptSegmenter, float16: bool) -> Agreement:
    """Compares all signatures on a photo: words spread over the vocabulary, and a vector outside it.

    Args:
        directory: the SavedModel.
        segmenter: of the model directory it was made from.
        float16: whether its weights are rounded.

    Raises:
        UserError: a fresh process cannot use it, or it answers something else.
    """
    photo = Path(cbook.get_sample_data(PHOTO, asfileobj=False))
    words, vectors = words_asked(segmenter.vocabulary)
    answers = _ask_fresh_process(directory, _requests(photo, words, vectors))

    features = segmenter.encode(read_image(photo))
    expected = segmenter.segment([*words, vectors[-1]], features)
    maps = segmenter.attention(words[:1], features)
    found = _agreement(answers, expected, maps)
    check(found, ROUNDED if float16 else EXACT, directory.parent)
    return found


def words_asked(vocabulary: Vocabulary) -> tuple[list[str], np.ndarray]:
    """Words spread over a vocabulary, and their vectors float32 [N + 1, D]; the last is none of its words."""
    places = np.unique(np.linspace(0, len(vocabulary) - 1, _WORDS).round().astype(int))
    vectors = np.concatenate([vocabulary.vectors[places], outside(vocabulary.vectors)[None]])
    return [vocabulary.names[i] for i in places], vectors


def check(found: Agreement, allowed: Agreement, base: Path) -> None:
    """Raises a UserError that names `base` where the agreement is not as good as allowed, or no number."""
    for name in ("mask", "score", "attention"):
        difference, most = getattr(found, name), getattr(allowed, name)
        if not difference <= most:
            raise UserError(
                f"{base}: nothing was published: read again, the graph's {name} differs from the model's by "
                f"{difference:.2g}, allowed is {most:.2g}"
            )
    if not found.iou >= allowed.iou:
        raise UserError(
            f"{base}: nothing was published: read again, the graph's masks have IoU {found.iou:.3f} with the "
            f"model's, expected at least {allowed.iou}"
        )


def outside(vectors: np.ndarray) -> np.ndarray:
    """A direction between words, which is none of them."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit[0] - unit[-1] / 2).astype(np.float32) if len(unit) > 1 else -unit[0]


def _requests(photo: Path, words: list[str], vectors: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    image = read_image(photo)[np.newaxis]
    names = np.array([[word.encode() for word in words]], object)
    return {
        "serving_default": {"image": image, "word_vector": vectors[:1]},
        "segment_concepts": {"image": image, "word_vectors": vectors[np.newaxis]},
        "segment_encoded": {"image_bytes": np.array([photo.read_bytes()], object), "concepts": names},
        "attention": {"image": image, "word_vector": vectors[:1]},
    }


def _ask_fresh_process(directory: Path, requests: dict) -> dict[str, dict[str, np.ndarray]]:
    try:
        return ask_fresh_process(reload.__file__, [directory], requests)
    except UserError as error:
        raise UserError(f"{directory.parent}: nothing was published: {error}") from None


def ask_fresh_process(script: str, arguments: Sequence, requests: dict) -> dict:
    """What a script answers in a process of its own.

    Args:
        script: a file that is given the arguments, and the files of pickled requests and answers.
        arguments: the first ones.
        requests: what is asked.

    Raises:
        UserError: it fails; tells the last line it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "requests", Path(folder) / "answers"
        asked.write_bytes(pickle.dumps(requests))
        # -P: the modules beside the script are not to be found by their short names.
        command = [sys.executable, "-P", script, *map(str, arguments), str(asked), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"a fresh process cannot use it ({reason})")
        return pickle.loads(answered.read_bytes())


def _agreement(answers: dict, expected: Segmentation, maps: list[np.ndarray]) -> Agreement:
    one, many = answers["serving_default"], answers["segment_concepts"]
    encoded = answers["segment_encoded"]
    drawn = [np.array(Image.open(io.BytesIO(png))) for png in encoded["mask_png_bytes"][0]]
    drawn = np.stack(drawn).astype(np.float32) / 255
    words = len(drawn)
    masks = [
        np.abs(one["mask"][0] - expected.masks[0]).max(),
        np.abs(many["mask"][0] - expected.masks).max(),
        np.abs(drawn - expected.masks[:words]).max() - _LEVEL / 2,
    ]
    scores = [
        np.abs(one["score"][0] - expected.scores[0]),
        np.abs(many["score"][0] - expected.scores).max(),
        np.abs(encoded["score"][0] - expected.scores[:words]).max(),
    ]
    ours, theirs = expected.masks[:words] >= 0.5, drawn >= 0.5
    both, either = (ours & theirs).sum((1, 2)), (ours | theirs).sum((1, 2))
    finer = answers["attention"]["attention"][0, -1]
    return Agreement(
        mask=float(max(masks)),
        score=float(max(scores)),
        attention=float(np.abs(finer - maps[-1][0]).max()),
        iou=float(np.where(either, both / np.maximum(either, 1), 1.0).mean()),
    )
