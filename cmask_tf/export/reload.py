"""Answers requests from a SavedModel; run as a process of its own that knows nothing of this package.

    python reload.py DIRECTORY REQUESTS ANSWERS

Requests and answers are pickled {signature: {tensor: NumPy array}}; strings are arrays of `bytes` objects.
"""

import pickle
import sys
from pathlib import Path

import tensorflow as tf


def main(directory: str, requests: str, answers: str) -> None:
    """Runs every signature that the requests name, once."""
    model = tf.saved_model.load(directory)
    found = {}
    for signature, inputs in pickle.loads(Path(requests).read_bytes()).items():
        outputs = model.signatures[signature](**{k: tf.convert_to_tensor(v) for k, v in inputs.items()})
        found[signature] = {name: value.numpy() for name, value in outputs.items()}
    Path(answers).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
