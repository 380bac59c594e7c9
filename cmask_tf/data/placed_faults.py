"""Faults that several workers meet, merged into what one reader of the same source would have counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter

from cmask_tf.errors import UserError
from cmask_tf.faults import EXAMPLES, Faults

_FILE = 1 << 48  # more than twice the records of a file
_place = itemgetter(0)


def place(file: int, record: int) -> int:
    """Where a record stands in a source: its files' records one after the other, by an even
    number above 0.

    Args:
        file: number of the file, in the order in which one reader takes them.
        record: number in the file.
    """
    return (file + 1) * _FILE + 2 * record


class PlacedFaults(Faults):
    """Counts, with the first examples by the place of their record; never an error before `told`.

    Attributes:
        place: of the record that is being read; see `place`.
        met: lines of a file of ids that named a photo.
        broken: (place, text) of what is wrong with a file as a whole.
    """

    def __init__(self):
        super().__init__()
        self.place = 0
        self.met: set[str] = set()
        self.broken: list[tuple[int, str]] = []

    def check(self) -> None:
        """Whether they are too many is told from all workers together."""

    @classmethod
    def merged(cls, several: Iterable[PlacedFaults]) -> PlacedFaults:
        """All of them as one; the order does not matter."""
        whole = cls()
        for faults in several:
            whole.good += faults.good
            whole.bad.update(faults.bad)
            whole.left_out.update(faults.left_out)
            whole.met |= faults.met
            whole.broken = sorted(whole.broken + faults.broken)[:1]
            for reason, lines in faults.examples.items():
                whole.examples[reason] = _first(whole.examples.get(reason, []) + lines)
        return whole

    def told(self, strict: bool) -> Faults:
        """The counts as one reader has them.

        Raises:
            UserError: a broken file; a bad record when strict; too many of them.
        """
        if self.broken:
            raise UserError(self.broken[0][1])
        whole = Faults()
        whole.good, whole.left_out = self.good, Counter(self.left_out)
        first = {reason: lines[0] for reason, lines in self.examples.items()}
        by_place = sorted(first, key=lambda reason: _place(first[reason]))
        whole.bad = Counter({reason: self.bad[reason] for reason in by_place if reason in self.bad})
        whole.examples = {reason: [line for _, line in self.examples[reason]] for reason in by_place}
        if strict and whole.bad:
            raise UserError(whole.examples[next(iter(whole.bad))][0])
        whole.check()
        return whole

    def _count(self, counts: Counter[str], reason: str, line: str) -> None:
        counts[reason] += 1
        self.examples[reason] = _first([*self.examples.get(reason, []), (self.place, line)])


def _first(examples: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return sorted(examples, key=_place)[:EXAMPLES]
