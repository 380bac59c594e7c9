"""Writes scenes to a data folder in the public formats (COCO, Open Images, Visual Genome, tag lines)."""

from __future__ import annotations

import collections
import functools
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import tqdm

from cmask_tf.data.world.annotate import Notes, take_notes
from cmask_tf.data.world.concepts import ALL_WORDS, CONCEPTS, MASKED, OPEN_IMAGES, VISUAL_GENOME
from cmask_tf.data.world.formats import (
    write_coco_instances,
    write_concept_masks,
    write_open_images,
    write_visual_genome,
)
from cmask_tf.data.world.scene import SPLITS, make_scene
from cmask_tf.errors import UserError

_FEWEST = 10
_ALONE = 64  # fewer scenes than this are not worth a pool of processes
_JPEG_QUALITY = 92


def split_sizes(scenes: int) -> dict[str, int]:
    """How many scenes each split gets: 80 % train, 8 % val, 12 % test, at least one each."""
    val, test = max(1, round(0.08 * scenes)), max(1, round(0.12 * scenes))
    return {"train": scenes - val - test, "val": val, "test": test}


def write_folder(out: Path, scenes: int, seed: int = 0) -> None:
    """Makes the scenes and writes the folder: beside `out` first, then under its name.

    Args:
        out: a folder that does not exist yet, or is empty.
        scenes: how many, over all splits.
        seed: the world's seed; scene k of a split is the same for any number of scenes.

    Raises:
        UserError: `out` has something in it, or there are too few scenes to split.
    """
    out = Path(out)
    if scenes < _FEWEST:
        raise UserError(
            f"--scenes {scenes}: expected {_FEWEST} or more, so that train, val and test have some each"
        )
    if seed < 0:
        raise UserError(f"seed {seed}: expected 0 or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: expected a folder that is empty or does not exist yet")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _fill(partial, scenes, seed)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(folder: Path, scenes: int, seed: int) -> None:
    for name in (*(f"images/{split}" for split in SPLITS), "tags", "openimages", "visual_genome", "coco"):
        (folder / name).mkdir(parents=True)
    notes: dict[str, list[Notes]] = {split: [] for split in SPLITS}
    for split, note in tqdm.tqdm(
        _make_all(folder, scenes, seed), total=scenes, desc="ConceptWorld", unit="scene"
    ):
        notes[split].append(note)
    train = notes["train"]
    _write_tags(folder / "tags", train)
    annotated = [note for note in train if note.annotated]
    write_open_images(folder / "openimages", annotated)
    write_visual_genome(folder / "visual_genome", annotated)
    write_coco_instances(folder / "coco" / "instances_train.json", annotated)
    for split in ("val", "test"):
        write_concept_masks(folder / "coco" / f"concept_masks_{split}.json", notes[split], split)
    _write_concepts(folder, notes)


def _make_all(folder: Path, scenes: int, seed: int) -> Iterator[tuple[str, Notes]]:
    jobs = [(split, index) for split, size in split_sizes(scenes).items() for index in range(size)]
    make = functools.partial(_make, folder=folder, seed=seed)
    processes = (
        min(len(os.sched_getaffinity(0)), 16) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if scenes < _ALONE or processes == 1:
        yield from map(make, jobs)
        return
    # "spawn": a fork of a process whose TensorFlow or OpenCV has threads may hang.
    with multiprocessing.get_context("spawn").Pool(
        processes, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        yield from pool.imap(make, jobs, chunksize=16)


def _make(job: tuple[str, int], folder: Path, seed: int) -> tuple[str, Notes]:
    split, index = job
    scene = make_scene(seed, split, index)
    notes = take_notes(scene, seed, split, index)
    _, jpeg = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    (folder / "images" / split / f"{notes.image_id:012d}.jpg").write_bytes(jpeg.tobytes())
    return split, notes


def _write_tags(folder: Path, train: list[Notes]) -> None:
    for name, keep_zero in (("train", False), ("all_tags_for_pmi", True)):
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for note in train:
                tags = [tag for tag in note.tags if keep_zero or ALL_WORDS[tag].level != "zero"]
                file.write(
                    json.dumps({"image": f"images/train/{note.image_id:012d}.jpg", "tags": tags}) + "\n"
                )


def _write_concepts(folder: Path, notes: dict[str, list[Notes]]) -> None:
    tags = collections.Counter(tag for note in notes["train"] for tag in note.tags)
    boxes = collections.Counter(box.name for note in notes["train"] for box in note.boxes)
    tests = collections.Counter(name for note in notes["test"] for name in note.masks)
    table = {
        name: {
            "level": concept.level,
            "n_train_tags": 0 if concept.level == "zero" else tags[name],
            "n_train_boxes": boxes[name],
            "n_test": tests[name],
            "kind": concept.kind,
        }
        for name, concept in sorted(ALL_WORDS.items())
    }
    (folder / "concepts.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    counts = {split: len(some) for split, some in notes.items()}
    (folder / "README.md").write_text(
        _readme(counts, sum(note.annotated for note in notes["train"])), encoding="utf-8"
    )


def _readme(counts: dict[str, int], annotated: int) -> str:
    return f"""# ConceptWorld

Drawn scenes in the layout of the data sets that the paper "Concept Mask" trains and tests on,
written by `cmask data world`.

| split | photos | annotation |
|---|---|---|
| train | {counts["train"]} | tags; {annotated} with boxes and masks ({len(MASKED)} concepts) too |
| val | {counts["val"]} | masks of all {len(CONCEPTS)} concepts |
| test | {counts["test"]} | masks of all {len(CONCEPTS)} concepts |

- `tags/train.jsonl`: tags of the training photos, with gaps and some wrong ones, without the zero level.
- `tags/all_tags_for_pmi.jsonl`: the same lines with the zero level's tags, for word vectors only.
- `openimages/`: boxes of {len(OPEN_IMAGES)} concepts.
- `visual_genome/`: boxes of {len(VISUAL_GENOME)} others, some under an alias.
- `coco/instances_train.json`: objects of the mask level.
- `coco/concept_masks_{{val,test}}.json`: one exact mask per photo and concept.
- `concepts.json`: level, kind and counts. Scene words ("beach") have tags only.
"""
