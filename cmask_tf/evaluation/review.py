"""Looking through pseudo masks by eye: accept, reject, repaint (section 3: "then manually cleaned up").

Every decision is on disk before the next mask is shown, in FILE.review.json beside the file of masks:
    {"sha256" of the file, "decisions": {annotation id: {"verdict", "segmentation" when repainted}}}
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from cmask_tf.data.sources import PhotoFinder, read_json
from cmask_tf.errors import UserError
from cmask_tf.evaluation.pseudo_masks import read_stored, write_json
from cmask_tf.faults import BadRecord

ACCEPTED, REJECTED, REPAINTED = VERDICTS = ("accepted", "rejected", "repainted")


@dataclass(frozen=True)
class Shown:
    """One mask to look at: photo uint8 RGB [H, W, 3], mask bool [H, W], its concept, an earlier verdict."""

    photo: np.ndarray
    mask: np.ndarray
    name: str
    verdict: str | None


class Review:
    """The pseudo masks of a file, in its order, with what was decided of each.

    Args:
        file: what `make_pseudo_masks` wrote; drawn masks ("pseudo": false) are not shown.
        images: the folder of photos.

    Raises:
        UserError: no such file, nothing in it to review, or decisions that belong to another file.
    """

    def __init__(self, file: Path, images: Path):
        self.file = Path(file)
        self.sidecar = self.file.with_name(self.file.stem + ".review.json")
        self._content = read_json(self.file, dict, "a COCO object")
        self._sha256 = hashlib.sha256(self.file.read_bytes()).hexdigest()
        try:
            self._names = {category["id"]: category["name"] for category in self._content["categories"]}
            self._images = {image["id"]: image for image in self._content["images"]}
            self._pseudo = [entry for entry in self._content["annotations"] if entry.get("pseudo")]
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.file}: expected a COCO file of masks ({error})") from None
        if not self._pseudo:
            raise UserError(f"{self.file}: no annotation is marked pseudo; nothing to review")
        self._finder = PhotoFinder(images)
        self._decisions = self._read()

    def __len__(self) -> int:
        return len(self._pseudo)

    @property
    def decided(self) -> int:
        """How many masks have a verdict."""
        return len(self._decisions)

    def first_undecided(self, start: int = 0) -> int | None:
        """The next mask without a verdict, from `start` on and round; None when all have one."""
        places = [*range(start, len(self)), *range(min(start, len(self)))]
        return next((place for place in places if self._key(place) not in self._decisions), None)

    def show(self, place: int) -> Shown:
        """The photo and the mask, as it was repainted if it was.

        Raises:
            UserError: the photo is not there or not of the mask's size.
        """
        entry, decision = self._pseudo[place], self._decisions.get(self._key(place), {})
        image = self._images[entry["image_id"]]
        try:
            path = self._finder.find(image["file_name"], f"{self.file}: image {image['id']}")
        except BadRecord as bad:
            raise UserError(str(bad)) from None
        photo = read_stored(path)
        mask = rle.decode(decision.get("segmentation", entry["segmentation"])).astype(bool)
        if photo.shape[:2] != mask.shape:
            raise UserError(f"{path}: {photo.shape[1::-1]} pixels, but its mask is {mask.shape[::-1]}")
        return Shown(photo, mask, self._names[entry["category_id"]], decision.get("verdict"))

    def accept(self, place: int) -> None:
        """The mask is good as it is shown, repainted or not."""
        decision = self._decisions.get(self._key(place), {})
        self._decide(place, decision if decision.get("verdict") == REPAINTED else {"verdict": ACCEPTED})

    def reject(self, place: int) -> None:
        """The mask cannot be used."""
        self._decide(place, {"verdict": REJECTED})

    def repaint(self, place: int, mask: np.ndarray) -> None:
        """Another mask takes its place.

        Args:
            mask: bool [H, W].

        Raises:
            UserError: it is empty, or not of the photo's size.
        """
        size = tuple(self._pseudo[place]["segmentation"]["size"])
        if mask.shape != size:
            raise UserError(f"repainted mask: expected {size[1]} x {size[0]} pixels, not {mask.shape[::-1]}")
        if not mask.any():
            raise UserError("repainted mask: nothing is painted; reject it instead")
        found = rle.encode(np.asfortranarray(mask, np.uint8))
        segmentation = {"size": list(size), "counts": found["counts"].decode()}
        self._decide(place, {"verdict": REPAINTED, "segmentation": segmentation})

    def finish(self, out: Path) -> dict[str, int]:
        """Writes the cleaned file: rejected masks are gone, and photos that no mask is left of.

        Returns:
            Verdict -> number of masks.

        Raises:
            UserError: masks without a verdict are left.
        """
        if self.decided < len(self):
            raise UserError(
                f"{self.file}: {len(self) - self.decided} of {len(self)} masks have no verdict yet"
            )
        kept = [entry for old in self._content["annotations"] if (entry := self._cleaned(old))]
        shown = {entry["image_id"] for entry in kept}
        images = [image for image in self._content["images"] if image["id"] in shown]
        info = self._content.get("info", {}) | {"reviewed": True}
        write_json(Path(out), self._content | {"info": info, "images": images, "annotations": kept})
        verdicts = [decision["verdict"] for decision in self._decisions.values()]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS}

    def _cleaned(self, entry: dict) -> dict | None:
        decision = self._decisions.get(str(entry["id"])) if entry.get("pseudo") else None
        if decision is None:
            return entry
        if decision["verdict"] == REJECTED:
            return None
        mask = decision.get("segmentation", entry["segmentation"])
        shape = {"segmentation": mask, "area": float(rle.area(mask)), "bbox": rle.toBbox(mask).tolist()}
        return entry | shape | {"reviewed": decision["verdict"]}

    def _key(self, place: int) -> str:
        return str(self._pseudo[place]["id"])

    def _decide(self, place: int, decision: dict) -> None:
        decisions = self._decisions | {self._key(place): decision}
        write_json(self.sidecar, {"sha256": self._sha256, "decisions": decisions})
        self._decisions = decisions

    def _read(self) -> dict[str, dict]:
        if not self.sidecar.exists():
            return {}
        content = read_json(self.sidecar, dict, "decisions")
        if content.get("sha256") != self._sha256:
            raise UserError(
                f"{self.sidecar}: decisions of another {self.file.name}; move it away to begin anew"
            )
        try:
            decisions = {key: dict(decision) for key, decision in content["decisions"].items()}
            if not {decision["verdict"] for decision in decisions.values()} <= set(VERDICTS):
                raise ValueError("a verdict that is none")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{self.sidecar}: not a file of decisions ({error})") from None
        return decisions
