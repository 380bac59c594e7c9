"""The paper's concept sets and their held-out photos, by rules (sections 3 and 5.1, supplement 5).

The lists behind the paper's figures were never published. Ours:
- COCO-80: the categories of the COCO file that the vocabulary has and that have boxes in Open Images or
  Visual Genome.
- OIVG-N: these, then the other words of the vocabulary with most photos that have a box, to N; each of the
  latter keeps at least 8 training photos.
- Weak-Box: OIVG-N without COCO-80.
- Weak-Image-n: of the remaining words that are training tags, those with most photos.
- ZeroTest-n: of the names that are no training tag, those with most photos.
- Held out: 5 to 10 photos a concept, one of them to validate (ZeroTest: none), rarest concept first, photos
  that are held out already first, then in a seeded order. A photo in which the concept's box is around a
  group is not taken. COCO-80's photos come from the COCO file, whose masks are true; the others' from Open
  Images and Visual Genome. A held-out picture is in no training record, under whatever path or id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmask_tf.data.paper.labels import SOURCES, Labels
from cmask_tf.data.paper.scan import Scan
from cmask_tf.errors import UserError

TRAIN, VAL, TEST, KEPT_OUT = range(4)
SPLITS = ("train", "val", "test")
FEWEST_TRAIN = 8
FEWEST_HELD, MOST_HELD = 5, 10
_COCO = SOURCES.index("coco")


@dataclass(frozen=True)
class Sizes:
    """How many concepts: OIVG-N's N, Weak-Image's and ZeroTest's n."""

    box: int = 750
    image: int = 50
    zero: int = 10


@dataclass
class Choice:
    """Concepts are numbers in `Labels.names`.

    Attributes:
        coco, oivg, image, zero: the sets, most photos first.
        split: int8 [n], TRAIN, VAL, TEST or KEPT_OUT of each photo.
        examples: (photo, concept) -> VAL or TEST.
        box_photos, mask_photos: int64 [concepts], pictures that are left to train on.
    """

    coco: list[int]
    oivg: list[int]
    image: list[int]
    zero: list[int]
    split: np.ndarray
    examples: dict[tuple[int, int], int]
    box_photos: np.ndarray
    mask_photos: np.ndarray

    def level(self, concept: int) -> str | None:
        """ "mask", "box", "image" or "zero"; None outside the sets."""
        sets = {"mask": self.coco, "box": self.oivg, "image": self.image, "zero": self.zero}
        return next((level for level, members in sets.items() if concept in members), None)


class Chooser:
    """Chooses; the arrays are made once.

    Args:
        scan: the sources.
        labels: their merged names.
        tags: for each concept, whether it is a training tag.
        kept_out: bool [n], photos that are to be in no split.
    """

    def __init__(self, scan: Scan, labels: Labels, tags: Sequence[bool], kept_out: np.ndarray):
        self._scan, self._labels, self._tags = scan, labels, np.array(tags, bool)
        self._photo, self._concept, self._crowd = scan.concepts(labels)
        self._known = np.array(labels.known, bool)
        self._from_coco = scan.source[self._photo] == _COCO
        self._kept_out = np.zeros(scan.group.max(initial=-1) + 1, bool)
        self._kept_out[scan.group[kept_out]] = True
        self._open = ~self._kept_out[scan.group[self._photo]]
        self._given = np.unique(self._concept[self._from_coco]).tolist()
        self._boxed = self._pictures(~self._from_coco & self._open)
        self._masked = self._pictures(self._from_coco & self._open)

    def choose(self, sizes: Sizes) -> Choice:
        """The sets and the splits; concepts that are left with too few training photos make room for others.

        Raises:
            UserError: no COCO category is in the vocabulary and has boxes, or N has no room for them.
        """
        coco = self._by_photos([c for c in self._given if self._known[c] and self._boxed[c]], self._masked)
        if sizes.box < len(coco):
            raise UserError(f"--concepts {sizes.box}: expected {len(coco)} or more, COCO's categories")
        refused: set[int] = set()
        while coco:
            choice = self._attempt(sizes, coco, refused)
            short = {c for c in choice.oivg if choice.box_photos[c] < FEWEST_TRAIN} - set(coco)
            boxless = {c for c in coco if not choice.box_photos[c]}
            if not short | boxless:
                return choice
            refused |= short
            coco = [c for c in coco if c not in boxless]
        raise UserError("no category of the COCO file is a word of the vocabulary that has boxes")

    def _attempt(self, sizes: Sizes, coco: list[int], refused: set[int]) -> Choice:
        fewest = FEWEST_TRAIN + FEWEST_HELD
        others = self._by_photos(
            np.flatnonzero(self._known & self._tags & (self._boxed >= fewest)), self._boxed
        )
        others = [c for c in others if c not in refused and c not in set(coco)]
        oivg = self._by_photos(np.array(coco + others[: sizes.box - len(coco)], np.int64), self._boxed)
        rest, taken = np.flatnonzero(self._boxed >= FEWEST_HELD), set(oivg) | set(self._given)
        rest = [c for c in self._by_photos(rest, self._boxed) if c not in taken]
        image = [c for c in rest if self._tags[c] and self._known[c]][: sizes.image]
        zero = [c for c in rest if not self._tags[c]][: sizes.zero]
        group, examples = self._hold_out(coco, oivg, image, zero)
        split = group[self._scan.group]
        stems = np.unique(self._scan.stem[split != TRAIN])
        split[(split == TRAIN) & np.isin(self._scan.stem, stems)] = KEPT_OUT
        training = split[self._photo] == TRAIN
        left = (self._pictures(rows & training) for rows in (~self._from_coco, self._from_coco))
        return Choice(coco, oivg, image, zero, split, examples, *left)

    def _hold_out(self, coco, oivg, image, zero) -> tuple[np.ndarray, dict[tuple[int, int], int]]:
        """The split of each group, and the examples."""
        group = np.where(self._kept_out, KEPT_OUT, TRAIN).astype(np.int8)
        examples: dict[tuple[int, int], int] = {}
        masked, zeros, trained = set(coco), set(zero), set(coco) | set(oivg)
        photos = {c: (self._masked if c in masked else self._boxed)[c] for c in [*coco, *oivg, *image, *zero]}
        rows = self._rows(photos)
        for concept in sorted(photos, key=lambda c: (photos[c], self._labels.names[c])):
            mine = rows[concept][self._from_coco[rows[concept]] == (concept in masked)]
            found = self._photo[mine[~self._crowd[mine] & self._open[mine]]]
            found = found[np.argsort(self._scan.order[found], kind="stable")]
            groups = self._scan.group[found]
            found = found[np.sort(np.unique(groups, return_index=True)[1])]
            room = len(found) - FEWEST_TRAIN if concept in trained else len(found)
            if len(found) < FEWEST_HELD + (FEWEST_TRAIN if concept in trained else 0):
                continue
            wanted = min(MOST_HELD, max(FEWEST_HELD, room))
            self._take(concept, found, wanted, 0 if concept in zeros else 1, group, examples)
        self._add_masks(masked, group, examples)
        return group, examples

    def _take(self, concept: int, found: np.ndarray, wanted: int, validate: int, group, examples) -> None:
        """Marks `wanted` photos of a concept, `validate` of them to validate."""
        for split, count in ((VAL, validate), (TEST, wanted - validate)):
            now = group[self._scan.group[found]]
            for photo in np.concatenate([found[now == split], found[now == TRAIN]])[:count]:
                group[self._scan.group[photo]] = split
                examples[int(photo), concept] = split

    def _add_masks(self, masked: set[int], group: np.ndarray, examples: dict) -> None:
        """COCO's photos are annotated in full: each is an example of all its categories (5.3)."""
        held = np.isin(group[self._scan.group[self._photo]], (VAL, TEST)) & self._from_coco
        for row in np.flatnonzero(held & np.isin(self._concept, list(masked))):
            photo = int(self._photo[row])
            examples[photo, int(self._concept[row])] = int(group[self._scan.group[photo]])

    def _rows(self, concepts) -> dict[int, np.ndarray]:
        """Concept -> numbers of its pairs."""
        order = np.argsort(self._concept, kind="stable")
        ends = np.searchsorted(self._concept[order], np.arange(len(self._labels.names) + 1))
        return {c: order[ends[c] : ends[c + 1]] for c in concepts}

    def _pictures(self, rows: np.ndarray) -> np.ndarray:
        """Concept -> number of different pictures among some pairs."""
        key = self._scan.group[self._photo[rows]] * len(self._labels.names) + self._concept[rows]
        return np.bincount(np.unique(key) % len(self._labels.names), minlength=len(self._labels.names))

    def _by_photos(self, concepts: np.ndarray, photos: np.ndarray) -> list[int]:
        return sorted(map(int, concepts), key=lambda c: (-photos[c], self._labels.names[c]))
