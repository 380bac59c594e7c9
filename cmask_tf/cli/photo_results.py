"""What `cmask segment` and `cmask client` print of many photos, as they come: lines or JSON, then a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from cmask_tf import outputs
from cmask_tf.errors import UserError


def tell(
    results: Iterable[tuple[Path, list[dict] | UserError]],
    photos: int,
    as_json: bool = False,
    summary: bool = False,
) -> None:
    """Prints the results of photos as they come, and an error's line on stderr where there is one.

    Args:
        results: each photo with its rows (`outputs.write`), or with the error that is about it alone.
        photos: how many will come.
        as_json: one JSON list of all rows.
        summary: a table of the concepts at the end in place of a line for each row.

    Raises:
        UserError: at the end, when photos failed.
    """
    from tqdm import tqdm

    table, printed, failed, first = Summary(), 0, 0, None
    bar = tqdm(
        results, "segment", photos, unit="photo", disable=None if photos > 1 else True, file=sys.stderr
    )
    try:
        for photo, found in bar:
            if isinstance(found, UserError):
                failed, first = failed + 1, first or found
                if photos > 1:
                    tqdm.write(f"cmask: {found}", file=sys.stderr)
                continue
            table.add(found)
            if as_json:
                for row in found:
                    print("," if printed else "[", json.dumps(row, indent=2), sep="\n")
                    printed += 1
            elif not summary:
                print(*outputs.lines(photo, found), sep="\n")
    finally:
        if printed:
            print("]")  # a list also when it was cut short
    if as_json and not printed:
        print("[]")
    elif summary and not as_json:
        print(*table.lines(), sep="\n")
    if first is not None:
        raise (
            first
            if photos == 1
            else UserError(f"{failed} of {photos} photos were not segmented, the first: {first}")
        )


class Summary:
    """In how many photos each concept was found, and how large; grows with the concepts alone."""

    def __init__(self) -> None:
        self._photos = 0
        self._found: dict[str, tuple[int, float]] = {}  # concept -> photos, sum of shares

    def add(self, rows: Iterable[dict]) -> None:
        """Counts one photo."""
        self._photos += 1
        for row in rows:
            photos, share = self._found.setdefault(row["concept"], (0, 0.0))
            if row["present"]:
                self._found[row["concept"]] = (photos + 1, share + row["share"])

    def lines(self) -> list[str]:
        """A table: the concept in most photos first."""
        width = max(map(len, [*self._found, "concept"]))
        title = f"{'concept':{width}}  {f'found in, of {self._photos}':>18}  {'mean area':>9}"
        rows = sorted(self._found.items(), key=lambda item: -item[1][0])
        return [title] + [
            f"{name:{width}}  {photos:18}  {f'{share / photos:.1%}' if photos else '-':>9}"
            for name, (photos, share) in rows
        ]
