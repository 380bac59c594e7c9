"""Segments a photo with the files of `cmask export --format tflite`: NumPy, Pillow, ai-edge-litert, no more.

    python segment_photo.py FILES photo.jpg "red hat" dress --out DIR

Writes DIR/photo.red-hat.png (0 to 255 is the probability, at the photo's size) for each concept and prints
its score: from 0.5 on the concept is in the photo. It needs nothing else of this package; copy it.
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


class PhoneSegmenter:
    """`encode.tflite`, `decode.tflite` and `concepts.npz` of one directory."""

    def __init__(self, files: Path, threads: int = 1) -> None:
        self.encode_step, self.decode_step = (
            Interpreter(str(files / name), num_threads=threads).get_signature_runner("serving_default")
            for name in ("encode.tflite", "decode.tflite")
        )
        with zipfile.ZipFile(files / "decode.tflite") as archive:
            self.metadata = json.loads(archive.read("metadata.json"))
        with np.load(files / "concepts.npz") as arrays:
            self._table = dict(arrays)
        self.names = self._table["names"].tolist()

    def encode(self, photo: Image.Image) -> dict[str, np.ndarray]:
        """Everything that does not depend on the concept; the heavy part, once a photo (RGB)."""
        return self.encode_step(**self.squares(photo))

    def squares(self, photo: Image.Image) -> dict[str, np.ndarray]:
        """What `encode.tflite` is given of a photo."""
        return {f"image_{size}": square(photo, size) for size in self.metadata["image_sizes"]}

    def segment(self, names: list[str], features: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Masks float32 [N, S, S] and scores [N] in [0, 1] of words of the vocabulary."""
        entries, masks, scores = [self.names.index(name) for name in names], [], []
        step = self.metadata["concepts"]
        for start in range(0, len(entries), step):
            some = entries[start : start + step]
            filled = some + some[-1:] * (step - len(some))  # the file answers so many at a time
            found = self.decode_step(**features, **self.parameters(np.array(filled)))
            masks.append(found["mask"][: len(some)])
            scores.append(found["score"][: len(some)])
        return np.concatenate(masks), np.concatenate(scores)

    def parameters(self, entries: np.ndarray) -> dict[str, np.ndarray]:
        """What the network must know of each word; some of it is held in fewer bits."""
        table = self._table
        vector = table["vectors"][entries].astype(np.float32) * table["scale"][entries]
        vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-12)
        found = {name: table[name][entries] for name in ("path", "theta", "threshold")}
        sought = table["sought"][entries].astype(np.float32) if "sought" in table else vector
        for name, columns in (("q", "column"), ("p", "neighbour")):
            chosen = np.maximum(table[columns][entries], 0)
            found[f"{name}_weights"] = table["weights"][chosen].astype(np.float32)
            found[f"{name}_bias"] = table["bias"][chosen]
        return {**found, "vector": vector, "sought": sought}


def square(photo: Image.Image, size: int) -> np.ndarray:
    """A photo squashed to float32 [1, size, size, 3], 0 to 255; Pillow's bilinear is antialiased."""
    bands = [
        np.asarray(b.convert("F").resize((size, size), Image.Resampling.BILINEAR)) for b in photo.split()
    ]
    return np.stack(bands, axis=-1)[np.newaxis]


def main() -> int:
    """Reads the command line, writes the masks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, help="directory of `cmask export --format tflite`")
    parser.add_argument("photo", type=Path)
    parser.add_argument("concepts", nargs="+", help="words of the vocabulary")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="default: here")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    args = parser.parse_args()
    try:
        segmenter = PhoneSegmenter(args.files, args.threads)
        photo = ImageOps.exif_transpose(Image.open(args.photo)).convert("RGB")
    except (OSError, ValueError) as error:
        return complain(error)
    unknown = [name for name in args.concepts if name not in segmenter.names]
    if unknown:
        return complain(f"not in the vocabulary: {', '.join(unknown)}; it has {', '.join(segmenter.names)}")
    args.out.mkdir(parents=True, exist_ok=True)
    masks, scores = segmenter.segment(args.concepts, segmenter.encode(photo))
    for name, mask, score in zip(args.concepts, masks, scores, strict=True):
        file = args.out / f"{args.photo.stem}.{name.replace(' ', '-')}.png"
        drawn = Image.fromarray(mask).resize(photo.size, Image.Resampling.BILINEAR)
        Image.fromarray(np.round(np.asarray(drawn) * 255).astype(np.uint8)).save(file)
        print(f"{file}: {name}, score {score:.2f}, {'present' if score >= 0.5 else 'not found'}")
    return 0


def complain(reason) -> int:
    """Prints a line to stderr; the exit code of bad input."""
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
