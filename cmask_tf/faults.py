"""What happens to bad records: skipped and counted, or told at once; a file of them is an error either way.

faults = Faults(strict)
for line in lines:
    try:
        record = parse(line)
    except BadRecord as bad:
        faults.skip(bad)
        continue
    faults.read()
    ...
faults.check()
"""

from __future__ import annotations

from collections import Counter

from cmask_tf.errors import UserError

MOST = 0.1  # the share of a source that may be bad before it counts as a wrong file
EARLY = 1000  # bad records from which a wrong file is told before its end
EXAMPLES = 5  # kept of each reason


class BadRecord(Exception):
    """One record that cannot be used.

    Args:
        reason: what was expected, the same words for every such record ("expected four numbers in bbox").
        where: the file and the record ("a.json: annotation 7", "tags.jsonl:12").
        detail: what was found instead; "" when there is nothing to add.
    """

    def __init__(self, reason: str, where: str, detail: str = ""):
        super().__init__(reason, where, detail)
        self.reason, self.where, self.detail = reason, where, detail

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


class Faults:
    """Counts of the records that were read, and of those that were not.

    Args:
        strict: the first bad record is an error.

    Attributes:
        good: number of records that were read.
        bad: reason -> number of bad records.
        left_out: reason -> number of records that are as they should be and of no use: a box without area.
        examples: reason -> the first few of either, a line each.
    """

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.good = 0
        self.bad: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def read(self, records: int = 1) -> None:
        """Counts good records."""
        self.good += records

    def skip(self, record: BadRecord) -> None:
        """Counts a bad record.

        Raises:
            UserError: when strict; or when a source turns out to be bad altogether.
        """
        if self.strict:
            raise UserError(str(record)) from None
        self._count(self.bad, record.reason, str(record))
        if self.bad.total() >= EARLY:
            self.check()

    def leave_out(self, reason: str, where: str) -> None:
        """Counts a record that is of no use, also when strict."""
        self._count(self.left_out, reason, where)

    def check(self) -> None:
        """Tells a wrong file from single bad records.

        Raises:
            UserError: more than `MOST` of the records are bad; it names the first.
        """
        bad = self.bad.total()
        if bad > MOST * (bad + self.good):
            first = self.examples[next(iter(self.bad))][0]
            raise UserError(first + (f"; {bad} of {bad + self.good} records are bad" if bad > 1 else ""))

    def state(self) -> dict:
        """The counts as plain values, for `restore`."""
        counts = {name: dict(getattr(self, name)) for name in ("bad", "left_out", "examples")}
        return {"good": self.good, **counts}

    def restore(self, state: dict) -> None:
        """Takes up counts that an earlier run wrote down, in place of its own."""
        self.good, self.bad, self.left_out, self.examples = 0, Counter(), Counter(), {}
        self.add(state)

    def add(self, state: dict) -> None:
        """Counts what another part of the work met, as its `state` says."""
        self.good += state["good"]
        self.bad.update(state["bad"])
        self.left_out.update(state["left_out"])
        for reason, lines in state["examples"].items():
            kept = self.examples.setdefault(reason, [])
            kept += lines[: EXAMPLES - len(kept)]

    def _count(self, counts: Counter[str], reason: str, line: str) -> None:
        counts[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(line)
