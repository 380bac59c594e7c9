"""What the public files hold, as arrays: which photo shows which name, and which photos are the same.

One pass over each source. Memory: 9 bytes a (photo, name) pair and 50 a photo, about 100 bytes a pair while
concepts are chosen: 1.5 GB for 620,000 photos with 14.1 million pairs. Boxes and paths are not kept.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from tqdm import tqdm

from cmask_tf.data.paper.labels import SOURCES, Label, Labels
from cmask_tf.data.sources import Annotated, Annotations, read_json
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord


@dataclass
class Scan:
    """n photos of all sources, source after source in reading order, and m (photo, name) pairs.

    Attributes:
        start: source -> number of its first photo.
        source: uint8 [n], place in `labels.SOURCES`.
        order: uint64 [n], drawn from the seed and the photo's id: the order of choosing.
        path, stem: int64 [n], hashes of the file's real path, and of its name without suffix.
        coco: int64 [n], hash of the COCO id; of the path where there is none.
        group: int64 [n], equal for photos that are the same picture (one path, or one COCO id).
        labels: label of each number in `name`.
        photo, name: int32 [m].
        crowd: bool [m], whether the name stands for a group of things in this photo.
        boxes: label -> boxes.
    """

    start: dict[str, int]
    source: np.ndarray
    order: np.ndarray
    path: np.ndarray
    stem: np.ndarray
    coco: np.ndarray
    group: np.ndarray
    labels: list[Label]
    photo: np.ndarray
    name: np.ndarray
    crowd: np.ndarray
    boxes: Counter[Label]

    def photos(self) -> dict[Label, int]:
        """Label -> number of photos."""
        counts = np.bincount(self.name, minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    def concepts(self, labels: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs in the merged label space, each once: photo, concept, crowd."""
        merged = np.array([labels.of[label] for label in self.labels], np.int64)
        key = self.photo.astype(np.int64) * len(labels.names) + merged[self.name]
        key, where = np.unique(key, return_inverse=True)
        crowd = np.zeros(len(key), bool)
        np.logical_or.at(crowd, where, self.crowd)
        return (*np.divmod(key, len(labels.names)), crowd)


def scan(sources: Mapping[str, Annotations], seed: int, coco_ids: Mapping[str, str]) -> Scan:
    """Reads every source once.

    Args:
        sources: name of `SOURCES` -> what its reader returned.
        seed: of the order in which photos are chosen.
        coco_ids: Visual Genome's image id -> COCO's, of the photos that the two share.
    """
    columns = {name: array("q") for name in ("source", "order", "path", "stem", "coco")}
    photo, name, crowd = array("i"), array("i"), array("b")
    numbers: dict[Label, int] = {}
    boxes: Counter[Label] = Counter()
    start = {}
    for source, items in sources.items():
        start[source] = len(columns["source"])
        for found in tqdm(items.items(0), f"scanning {source}", items.total, delay=2, unit="photo"):
            row = len(columns["source"])
            columns["source"].append(SOURCES.index(source))
            for key, value in _keys(found, source, row, seed, coco_ids).items():
                columns[key].append(value)
            for thing, group in _things(found).items():
                photo.append(row)
                name.append(numbers.setdefault((source, thing), len(numbers)))
                crowd.append(group)
            boxes.update((source, thing.name) for thing in getattr(found, "objects", ()))
    arrays = {key: np.array(values, np.int64) for key, values in columns.items()}
    group = _groups(arrays["path"], arrays["coco"])
    arrays["source"], arrays["order"] = arrays["source"].astype(np.uint8), arrays["order"].view(np.uint64)
    pairs = {"photo": np.array(photo), "name": np.array(name), "crowd": np.array(crowd, bool)}
    return Scan(start=start, **arrays, group=group, labels=list(numbers), **pairs, boxes=boxes)


def read_coco_ids(image_data: Path) -> dict[str, str]:
    """Visual Genome's image id -> COCO's, where image_data.json gives one.

    Raises:
        UserError: not a list of images.
    """
    found = {}
    for record in read_json(image_data, list, "a list of images"):
        if isinstance(record, dict) and record.get("coco_id") is not None:
            found[str(record.get("image_id", record.get("id")))] = str(record["coco_id"])
    return found


def read_kept_out(annotations: Path) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the COCO ids and of the stems of a COCO file's photos, as `Scan` has them.

    Raises:
        UserError: no list of images with ids and file names.
    """
    images = read_json(annotations, dict, "a COCO object").get("images")
    try:
        ids = [hashed("coco", str(image["id"])) for image in images]
        stems = [hashed("stem", Path(image["file_name"]).stem) for image in images]
    except (TypeError, KeyError):
        raise UserError(f"{annotations}: expected images with id and file_name") from None
    return np.array(ids, np.int64), np.array(stems, np.int64)


def hashed(*parts: str) -> int:
    """64 bits of a text, the same in every process."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def real(path: Path) -> str:
    """The path by which two mentions of a photo are told to be one."""
    return os.path.realpath(path)


def _keys(found: Annotated | BadRecord, source: str, row: int, seed: int, coco_ids: Mapping) -> dict:
    if isinstance(found, BadRecord):  # keeps its number; it has no pairs and so is never chosen
        nothing = hashed("bad", source, str(row))
        return dict.fromkeys(("order", "path", "stem", "coco"), nothing)
    coco = {"coco": found.source_id, "visual genome": coco_ids.get(found.source_id)}.get(source)
    return {
        "order": hashed(str(seed), source, found.source_id),
        "path": hashed("path", real(found.image)),
        "stem": hashed("stem", found.image.stem),
        "coco": hashed("coco", coco) if coco else hashed("path", real(found.image)),
    }


def _things(found: Annotated | BadRecord) -> dict[str, bool]:
    """Each name of a photo once -> whether any of its objects is a crowd."""
    things: dict[str, bool] = {}
    for thing in getattr(found, "objects", ()):
        things[thing.name] = things.get(thing.name, False) or thing.crowd
    return things


def _groups(path: np.ndarray, coco: np.ndarray) -> np.ndarray:
    """Connected photos: those that share a path or a COCO id."""
    keys, places = np.unique(np.concatenate([path, coco]), return_inverse=True)
    photos = len(path)
    rows = np.tile(np.arange(photos), 2)
    size = photos + len(keys)
    links = scipy.sparse.coo_matrix((np.ones(2 * photos, bool), (rows, photos + places)), (size, size))
    return scipy.sparse.csgraph.connected_components(links, directed=False)[1][:photos].astype(np.int64)
