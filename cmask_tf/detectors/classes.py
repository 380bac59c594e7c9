"""What a detector tells apart: the concepts of two record sets, as one list of classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from cmask_tf.data.claim import write_json
from cmask_tf.data.records import RecordSet
from cmask_tf.data.sources import read_json
from cmask_tf.errors import UserError

FILE = "classes.json"


@dataclass(frozen=True)
class Classes:
    """The classes of a detector. The labels of our records are of their own set; names join the sets.

    Attributes:
        names: folded and sorted; the first is class 1, class 0 is the background.
        masked: those of them that the mask head learns from.
    """

    names: tuple[str, ...]
    masked: tuple[str, ...]

    @classmethod
    def of(cls, boxes: RecordSet, masks: RecordSet) -> Classes:
        """Of the concepts in `boxes/` and `masks/`, as `cmask data prepare` writes them.

        Raises:
            UserError: `masks` holds no masks.
        """
        if masks.level != "mask":
            raise UserError(f"{masks.directory}: expected a record set with masks")
        return cls(tuple(sorted({*boxes.concepts, *masks.concepts})), tuple(sorted(masks.concepts)))

    @classmethod
    def load(cls, directory: Path) -> Classes:
        """From a trained detector's folder.

        Raises:
            UserError: it holds no such file.
        """
        path = Path(directory) / FILE
        content = read_json(path, dict, "a detector's classes")
        try:
            names, masked = tuple(content["names"]), tuple(content["masked"])
        except (KeyError, TypeError):
            raise UserError(f'{path}: expected "names" and "masked", lists of names') from None
        return cls(names, masked)

    def save(self, directory: Path) -> None:
        """Writes classes.json."""
        write_json(Path(directory) / FILE, asdict(self), indent=1)

    def numbers(self) -> dict[str, int]:
        """Name -> class, from 1."""
        return {name: number for number, name in enumerate(self.names, 1)}
