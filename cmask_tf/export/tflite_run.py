"""Answers a request from TFLite files; run as a process of its own that knows nothing of this package.

    python tflite_run.py DIRECTORY REQUEST ANSWER

Both pickled: the request {"squares": {"image_SIZE": array}, "vectors": float32 [N, D]}, the answer {"steps",
"one_shot" if its file is there: (masks [N, S, S], scores [N])}. One vector is asked for at a time.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def runner(path: Path):
    """The file's only signature; its arguments are NumPy arrays by name."""
    return Interpreter(str(path)).get_signature_runner("serving_default")


def main(directory: str, request: str, answer: str) -> None:
    """Runs the steps one after the other, and all at once where there is a file for it."""
    files, asked = Path(directory), pickle.loads(Path(request).read_bytes())
    encode, resolve, decode = (runner(files / f"{name}.tflite") for name in ("encode", "resolve", "decode"))
    features = encode(**asked["squares"])
    count = resolve.get_input_details()["word_vector"]["shape"][0]

    def in_steps(vector):
        return decode(**features, **resolve(word_vector=np.repeat(vector[np.newaxis], count, 0)))

    ways = {"steps": in_steps}
    if (files / "one_shot.tflite").is_file():
        whole = runner(files / "one_shot.tflite")
        ways["one_shot"] = lambda vector: whole(**asked["squares"], word_vector=vector[np.newaxis])
    answers = {}
    for name, way in ways.items():
        found = [way(vector) for vector in asked["vectors"]]
        answers[name] = tuple(np.stack([one[key][-1] for one in found]) for key in ("mask", "score"))
    Path(answer).write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
