"""What benchmarks/conversion_report.py asks: the files of each format, each through its own runtime.

    python benchmarks/conversion_runners.py KIND FILES PHOTO WORDS THREADS

prints as JSON what a process that answers one photo takes. Nothing of this package is imported and, but for
KIND "saved_model", no TensorFlow: memory is that of a program which has the files and their runtime.

A runner has `names`, the vocabulary; `prepare(image)` of uint8 RGB [H, W, 3], which is not timed; `encode`
of what that returns; and `decode(features, parameters)` of the parameters of `concepts` words, which answers
float32 masks [concepts, S, S] and scores [concepts]. `parameters(names)` is worked out beforehand.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "export" / "examples"
TFLITE, ONNX, SERVED, STEPS = KINDS = ("tflite", "onnx", "saved_model", "steps")
Arrays = dict[str, np.ndarray]
_CALLS = 3  # of a process whose memory is measured


class Phone:
    """The files of `cmask export --format tflite`, as `export/examples/segment_photo.py` uses them."""

    given = "squares"

    def __init__(self, files: Path, threads: int) -> None:
        sys.path.insert(0, str(EXAMPLES))
        from segment_photo import PhoneSegmenter

        self._phone = PhoneSegmenter(files, threads)
        self.names, self.concepts = self._phone.names, self._phone.metadata["concepts"]

    def prepare(self, image: np.ndarray) -> Arrays:
        return self._phone.squares(Image.fromarray(image))

    def encode(self, squares: Arrays) -> Arrays:
        return self._phone.encode_step(**squares)

    def parameters(self, names: Sequence[str]) -> Arrays:
        return self._phone.parameters(np.array([self.names.index(name) for name in names]))

    def decode(self, features: Arrays, parameters: Arrays) -> tuple[np.ndarray, np.ndarray]:
        found = self._phone.decode_step(**features, **parameters)
        return found["mask"], found["score"]


class Onnx:
    """The files of `cmask export --format onnx`; any number of concepts, here `concepts`."""

    given = "image"

    def __init__(self, files: Path, threads: int, concepts: int, suffix: str = "") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait for more work would take the processors from what is timed next.
        options.add_session_config_entry("session.force_spinning_stop", "1")

        def step(name: str):
            session = onnxruntime.InferenceSession(
                str(files / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            outputs = [output.name for output in session.get_outputs()]
            return lambda given: dict(zip(outputs, session.run(outputs, given), strict=True))

        self._resolve, self._encode, self._decode = (
            step(name) for name in ("resolve", f"encode{suffix}", f"decode{suffix}")
        )
        self.names = (files / "labels.txt").read_text(encoding="utf-8").splitlines()
        self._vectors, self.concepts = np.load(files / "vectors.npy"), concepts

    def prepare(self, image: np.ndarray) -> Arrays:
        return {"image": image[np.newaxis]}

    def encode(self, image: Arrays) -> Arrays:
        return self._encode(image)

    def parameters(self, names: Sequence[str]) -> Arrays:
        return self._resolve({"word_vector": self._vectors[[self.names.index(name) for name in names]]})

    def decode(self, features: Arrays, parameters: Arrays) -> tuple[np.ndarray, np.ndarray]:
        found = self._decode({**features, **parameters})
        return found["mask"], found["score"]


class Steps:
    """A float32 SavedModel with the three steps as signatures (`conversion_variants.write_steps`)."""

    def __init__(self, files: Path, given: str = "squares") -> None:
        import tensorflow as tf

        self._loaded, self.given = tf.saved_model.load(str(files / "steps")), given
        self._constant, signatures = tf.constant, self._loaded.signatures
        self._encode = signatures["encode_image" if given == "image" else "encode"]
        self._resolve, self._decode = signatures["resolve"], signatures["decode"]
        about = json.loads((files / "steps.json").read_text(encoding="utf-8"))
        self.names, self.concepts = about["names"], about["concepts"]
        self._sizes, self._vectors = about["image_sizes"], np.load(files / "vectors.npy")

    def prepare(self, image: np.ndarray) -> dict:
        if self.given == "image":
            return {"image": self._constant(image[np.newaxis])}
        from cmask_tf import geometry

        return {f"image_{size}": geometry.resize_image(image[np.newaxis], size) for size in self._sizes}

    def encode(self, given: dict) -> dict:
        features = self._encode(**given)
        features["c5"].numpy()  # it has been worked out
        return features

    def parameters(self, names: Sequence[str]) -> dict:
        rows = self._vectors[[self.names.index(name) for name in names]]
        return self._resolve(word_vector=self._constant(rows))

    def decode(self, features: dict, parameters: dict) -> tuple[np.ndarray, np.ndarray]:
        found = self._decode(**features, **parameters)
        return found["mask"].numpy(), found["score"].numpy()


def ask(runner, features, names: Sequence[str], parameters: dict) -> tuple[np.ndarray, np.ndarray]:
    """Masks [N, S, S] and scores [N] of any number of words, `runner.concepts` at a time.

    Args:
        runner: of this module.
        features: what its `encode` returns.
        names: the words.
        parameters: of tuples of words that were asked for, filled here.
    """
    masks, scores = [], []
    for some in groups(names, runner.concepts):
        if some not in parameters:
            parameters[some] = runner.parameters(some)
        mask, score = runner.decode(features, parameters[some])
        masks.append(mask)
        scores.append(score)
    return np.concatenate(masks)[: len(names)], np.concatenate(scores)[: len(names)]


def groups(names: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Words in groups of one size; the last is filled up with its last word."""
    cut = [tuple(names[start : start + size]) for start in range(0, len(names), size)]
    return [some + some[-1:] * (size - len(some)) for some in cut]


def main(kind: str, files: str, photo: str, words: str, threads: str) -> None:
    """Loads the files, answers a photo, prints what it took."""
    image = np.asarray(Image.open(photo).convert("RGB"))
    names, count = words.split("|"), int(threads)
    if kind == SERVED:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(count)
    elif kind == TFLITE:
        import ai_edge_litert.interpreter  # noqa: F401
    else:
        import onnxruntime  # noqa: F401
    alone, start = _memory("VmRSS"), time.perf_counter()
    if kind == SERVED:
        loaded = tf.saved_model.load(files)
        load, call = time.perf_counter() - start, loaded.signatures["segment_encoded"]
        given = tf.constant([Path(photo).read_bytes()]), tf.constant([names])
        for _ in range(_CALLS):
            call(image_bytes=given[0], concepts=given[1])["score"].numpy()
    else:
        suffix = ".float16" if kind == f"{ONNX}.float16" else ""
        place = Path(files)
        runner = Phone(place, count) if kind == TFLITE else Onnx(place, count, len(names), suffix)
        load, parameters = time.perf_counter() - start, {}
        for _ in range(_CALLS):
            ask(runner, runner.encode(runner.prepare(image)), names, parameters)
    print(json.dumps({"load_s": load, "alone_mib": alone, "peak_mib": _memory("VmHWM")}))


def _memory(what: str) -> float:
    """MiB of this process; not of getrusage, whose peak begins with that of the parent."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[what].split()[0]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
