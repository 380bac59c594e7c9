"""The photos of one concept in a record set: those that show it, with its mask, and others that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf

from cmask_tf.data import pipelines, schema
from cmask_tf.data.records import RecordSet
from cmask_tf.errors import UserError
from cmask_tf.training.validation import true_masks

FEWEST = 3  # photos that show a concept: fewer cannot be divided into learning and judging
OTHERS = 20  # photos without it that are looked at, or as many as show it, evenly spread


@dataclass(frozen=True)
class ConceptPhotos:
    """Photos as they lie in the records, decoded one at a time.

    Attributes:
        serialized: the records.
        shows: bool [N], whether a photo shows the concept.
        level: "mask" where an object of the concept has one, else "box".
        spellings: folded names of the concept.
    """

    serialized: list[bytes]
    shows: np.ndarray
    level: str
    spellings: Sequence[str]

    @classmethod
    def read(cls, records: RecordSet, name: str, spellings: Sequence[str]) -> ConceptPhotos:
        """Looks through a record set; memory is that of the photos that are kept, as they are encoded.

        Args:
            records: photos with masks or boxes. One without an object of the concept counts as without it.
            name: of the concept, for the error.
            spellings: its folded names.

        Raises:
            UserError: fewer than `FEWEST` photos show it.
        """
        shows = np.array([_truth(one, spellings).any() for one in _records(records)], bool)
        if shows.sum() < FEWEST:
            raise UserError(
                f"{records.directory}: {shows.sum()} photos show {name!r}; expected at least {FEWEST}"
            )
        others = np.flatnonzero(~shows)
        count = min(max(OTHERS, int(shows.sum())), len(others))
        spread = others[np.arange(count) * len(others) // max(count, 1)]
        kept = set(np.flatnonzero(shows).tolist() + spread.tolist())
        serialized = [one for place, one in enumerate(_records(records)) if place in kept]
        has_mask = any(true_masks(one, dict.fromkeys(spellings, 0)) for one in serialized)
        return cls(serialized, shows[sorted(kept)], "mask" if has_mask else "box", spellings)

    def __len__(self) -> int:
        return len(self.serialized)

    def image(self, index: int) -> np.ndarray:
        """A photo, uint8 RGB [H, W, 3].

        Raises:
            UserError: it does not decode.
        """
        record = schema.parse(self.serialized[index])
        try:
            return pipelines.decode_photo(record["encoded"]).numpy()
        except tf.errors.InvalidArgumentError:
            raise UserError(
                f"photo {record['source_id'].numpy().decode()} of the records cannot be decoded"
            ) from None

    def truth(self, index: int) -> np.ndarray:
        """Where the concept is: bool [H, W], the union of its masks, and of its boxes where it has none."""
        return _truth(self.serialized[index], self.spellings)

    def target(self, index: int, grid: int) -> np.ndarray:
        """G on a grid, float32 [grid, grid]: the share of each cell that the concept covers."""
        truth = self.truth(index).astype(np.float32)
        return cv2.resize(truth, (grid, grid), interpolation=cv2.INTER_AREA)


def _records(records: RecordSet):
    yield from tf.data.TFRecordDataset(records.files).as_numpy_iterator()


def _truth(serialized: bytes, spellings: Sequence[str]) -> np.ndarray:
    record = schema.parse(serialized)
    size = int(record["height"]), int(record["width"])
    truth = np.zeros(size, bool)
    wanted = np.isin(record["names"].numpy(), [spelling.encode() for spelling in spellings])
    if not wanted.any():
        return truth
    truth |= true_masks(serialized, dict.fromkeys(spellings, 0)).get(0, False)
    boxed = wanted & (record["masks"].numpy() == b"") & ~record["crowd"].numpy()
    for box in record["boxes"].numpy()[boxed]:
        truth[schema.pixels(box, *size)] = True
    return truth
