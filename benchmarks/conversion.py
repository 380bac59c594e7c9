"""How fast `cmask data coco` writes records, beside the least work there is, and what memory it takes.

    python benchmarks/conversion.py DATA_FOLDER...

The least work: pycocotools reads coco/instances_train.json and decodes every annotation, and OpenCV makes a
PNG of it, in one thread; nothing is checked, no photo read, nothing written. A conversion must also know that
each photo decodes: in a second least work OpenCV decodes every photo once as well. All are timed in turn in
one process, without TensorFlow's import, by the clock and by the processor's time (of all threads), which
other processes disturb less. Memory is the peak of a process of its own that converts the file, and one ten
times as large.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = str(Path(__file__).resolve().parents[1])
sys.path.insert(0, ROOT)

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from pycocotools.coco import COCO  # noqa: E402

from cmask_tf.data.coco import read_coco  # noqa: E402
from cmask_tf.data.records import write  # noqa: E402

TIMES = 10  # how much larger the second file of the memory test is
_CONVERT = (  # not getrusage: its peak begins with that of the parent process
    "import sys; from cmask_tf.cli import main; code = main(sys.argv[1:]);"
    "print(next(line for line in open('/proc/self/status') if 'VmHWM' in line).split()[1]); sys.exit(code)"
)


def timed(work: Callable[[], None]) -> np.ndarray:
    """Seconds by the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - clock, time.process_time() - processor])


def bare(annotations: Path) -> np.ndarray:
    """Seconds to decode every mask and make its PNG."""

    def decode_and_encode() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(annotations))
        for annotation in coco.dataset["annotations"]:
            cv2.imencode(".png", coco.annToMask(annotation))

    return timed(decode_and_encode)


def bare_with_photos(annotations: Path, images: Path) -> np.ndarray:
    """Seconds of `bare`, and to read and decode every photo once."""

    def decode_photos() -> None:
        for image in json.loads(annotations.read_text())["images"]:
            cv2.imdecode(np.fromfile(images / Path(image["file_name"]).name, np.uint8), cv2.IMREAD_COLOR)

    return bare(annotations) + timed(decode_photos)


def converted(annotations: Path, images: Path, out: Path) -> np.ndarray:
    """Seconds from the files to a finished record set."""
    read = partial(read_coco, annotations, images)
    with contextlib.redirect_stderr(io.StringIO()):
        return timed(lambda: write(read, out, inputs={}, source="benchmark"))


def enlarge(annotations: Path, images: Path, out: Path) -> tuple[Path, Path]:
    """A file of `TIMES` copies of every photo and annotation, under names and ids of their own."""
    values, folder = json.loads(annotations.read_text()), out / "images"
    folder.mkdir()
    enlarged = {"categories": values["categories"], "images": [], "annotations": []}
    for copy in range(TIMES):
        for image in values["images"]:
            name = f"{copy}-{image['file_name'].rsplit('/', 1)[-1]}"
            os.symlink((images / Path(image["file_name"]).name).absolute(), folder / name)
            enlarged["images"].append(image | {"id": f"{copy}-{image['id']}", "file_name": name})
        for annotation in values["annotations"]:
            ids = {key: f"{copy}-{annotation[key]}" for key in ("id", "image_id")}
            enlarged["annotations"].append(annotation | ids)
    (out / "enlarged.json").write_text(json.dumps(enlarged))
    return out / "enlarged.json", folder


def peak_mib(annotations: Path, images: Path, out: Path) -> float:
    """The peak of resident memory of a process that converts the file."""
    arguments = f"data coco --annotations {annotations} --images {images} --out {out}".split()
    command = [sys.executable, "-c", _CONVERT, *arguments]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    done = subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": ROOT}, **quiet)
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each (default 3)")
    args = parser.parse_args()
    speeds = "bare | bare, photos decoded | converted | ratio | ratio, processor | ratio, photos decoded"
    print(f"| data | photos | masks | {speeds} | peak | peak, {TIMES} x the data |")
    print("| --- |" + " ---: |" * 10)
    for folder in args.folders:
        annotations, images = folder / "coco" / "instances_train.json", folder / "images" / "train"
        values = json.loads(annotations.read_text())
        photos, masks = len(values["images"]), len(values["annotations"])
        with tempfile.TemporaryDirectory(dir=".") as name:
            work = Path(name)
            converted(annotations, images, work / "out")  # imports TensorFlow, fills the disk's cache
            rounds = [
                (
                    bare(annotations),
                    bare_with_photos(annotations, images),
                    converted(annotations, images, work / "out"),
                )
                for _ in range(args.repeats)
            ]
            least, decoding, ours = np.median(rounds, axis=0)
            small = peak_mib(annotations, images, work / "out")
            large = peak_mib(*enlarge(annotations, images, work), work / "large")
        clock, processor = least / ours
        rates = " | ".join(f"{photos / seconds[0]:.0f} photos/s" for seconds in (least, decoding, ours))
        memory = f"{small:.0f} MiB | {large:.0f} MiB"
        ratios = f"{clock:.2f} | {processor:.2f} | {decoding[0] / ours[0]:.2f}"
        print(f"| {folder.name} | {photos} | {masks} | {rates} | {ratios} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
