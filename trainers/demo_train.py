"""The whole system once, in minutes on two CPU cores: data, word vectors, three stages, masks, a table.

python trainers/demo_train.py --out runs/demo-train

Each step is a `cmask` command that is printed before it runs. A step whose result is there is not
repeated, so the same command goes on after an interruption.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from cmask_tf.cli import main as cmask

SCENES = 2000
DIMENSIONS = 56
PICTURE_CONCEPTS = 5
LEVELS = ("mask", "zero", "box", "image")  # in this order until there are enough


def demo(out: Path, config: str) -> int:
    """Runs the steps below `out`; returns the exit code of the first that fails, else 0."""
    began = time.monotonic()
    world, records, vocabulary = out / "world", out / "records", out / "vocabulary"
    embedding, refine, model = out / "embedding", out / "refine", out / "model"
    steps = [
        (world, f"data world --scenes {SCENES} --out {world}"),
        (records, f"data prepare {world} --out {records}"),
        (vocabulary, f"vocabulary build {world}/tags/all_tags_for_pmi.jsonl --dim {DIMENSIONS}"
         f" --kinds {world}/concepts.json --out {vocabulary}"),
        (embedding, f"train embedding --data {records} --vocabulary {vocabulary} --config {config}"
         f" --out {embedding}"),
        (refine, f"train refine --data {records} --from {embedding} --out {refine}"),
        (model, f"train segmentation --data {records} --from {refine} --out {model}"),
    ]  # fmt: skip
    for result, command in steps:
        if not result.exists() and (code := _run(command)):
            return code
    photo, concepts = _unseen_picture(world)
    asked = " ".join(f"--concept {shlex.quote(name)}" for name in concepts)
    if code := _run(f"segment {photo} {asked} --model {model} --out {out}/masks"):
        return code
    truth = world / "coco/concept_masks_test.json"
    if code := _run(f"evaluate --model {model} --images {world}/images/test --masks {truth}"
                    f" --baselines {records} --out {out}/evaluation"):  # fmt: skip
        return code
    print(f"\nDone in {(time.monotonic() - began) / 60:.1f} minutes.")
    print(f"Overlay: {out / 'masks' / (photo.stem + '.overlay.png')}")
    print(f"Report:  {out / 'evaluation' / 'report.md'}")
    return 0


def _run(command: str) -> int:
    print(f"\n$ cmask {command}", flush=True)
    return cmask(shlex.split(command))


def _unseen_picture(world: Path) -> tuple[Path, list[str]]:
    """The test picture that shows most annotated concepts of many levels, and some of them."""
    truth = json.loads((world / "coco/concept_masks_test.json").read_text())
    categories = {c["id"]: c for c in truth["categories"]}
    shown: dict[int, list[dict]] = {}
    for annotation in sorted(truth["annotations"], key=lambda a: -a["area"]):
        shown.setdefault(annotation["image_id"], []).append(categories[annotation["category_id"]])
    best = max(shown, key=lambda i: (len({(c["level"], c["kind"]) for c in shown[i]}), -i))
    file = next(i["file_name"] for i in truth["images"] if i["id"] == best)
    largest = {(LEVELS.index(c["level"]), c["kind"]): c["name"] for c in reversed(shown[best])}
    return world / "images/test" / file, [largest[key] for key in sorted(largest)][:PICTURE_CONCEPTS]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo-train"))
    parser.add_argument("--config", default="tiny", help="tiny (the paper's design) or tiny-lite")
    arguments = parser.parse_args()
    sys.exit(demo(arguments.out, arguments.config))
