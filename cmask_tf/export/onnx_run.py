"""Answers requests from ONNX files; run as a process of its own that knows nothing of this package.

    python onnx_run.py DIRECTORY SUFFIX REQUESTS ANSWERS

SUFFIX is "" or ".float16". Requests are pickled {"photos": [uint8 [B, H, W, 3], ...], "vectors": float32
[K, D]}; answers {"resolve": {tensor: array}, "photos": [{step: {tensor: array}} for each photo]}.
"""

import pickle
import sys
from pathlib import Path

import onnxruntime


def main(directory: str, suffix: str, requests: str, answers: str) -> None:
    """Runs every step on every photo."""
    resolve = _step(directory, "resolve")  # never rounded
    encode, decode, one_shot = (_step(directory, n + suffix) for n in ("encode", "decode", "one_shot"))
    asked = pickle.loads(Path(requests).read_bytes())
    vectors = asked["vectors"]
    parameters, found = resolve(word_vector=vectors), []
    for photos in asked["photos"]:
        features = encode(image=photos)
        for i in range(len(photos)):
            own = {name: value[i : i + 1] for name, value in features.items()}
            found.append(
                {
                    "encode": own,
                    "decode": decode(**own, **parameters),
                    "one_shot": one_shot(image=photos[i : i + 1], word_vector=vectors),
                }
            )
    Path(answers).write_bytes(pickle.dumps({"resolve": parameters, "photos": found}))


def _step(directory: str, name: str):
    session = onnxruntime.InferenceSession(
        str(Path(directory) / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda **given: dict(zip(names, session.run(names, given), strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
