"""How a reader brings a file into a spool: once, with photos found and their sizes agreed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cmask_tf.data.sources import Annotations, PhotoFinder, image_size
from cmask_tf.data.spool import Spool
from cmask_tf.faults import BadRecord, Faults

OF_LEFT_OUT = "annotation of a photo that was left out"


def through_spool(work: Path, faults: Faults, fill: Callable[[Spool], None]) -> Annotations:
    """What `fill` adds to a spool in `work`; when an earlier run finished it there, nothing is read again.

    Raises:
        UserError: what `fill` raises, or too much of the source is faulty.
    """
    spool = Spool(Path(work) / "spool.sqlite")
    if not spool.complete:
        fill(spool)
        spool.finish(faults)
    return spool.annotations(faults)


def find_any(finder: PhotoFinder, names: Sequence[str], where: str) -> Path:
    """The first of several names of a photo that is there.

    Raises:
        BadRecord: none is; it tells of the first.
    """
    missing = None
    for name in names:
        try:
            return finder.find(name, where)
        except BadRecord as bad:
            missing = missing or bad
    raise missing or BadRecord("photo is not there", where, "expected a file name")


def add_photo(spool: Spool, path: Path, source_id: str, size: tuple[int, int], where: str) -> int:
    """The spool's row of a photo whose annotated (height, width) in px is known.

    Raises:
        BadRecord: another source has the photo already, and its file is no photo or of another size.
    """
    if spool.has_photo(path) is None:
        return spool.photo(path, source_id, size)
    stored = image_size(path)
    if stored != size:
        detail = f"stored as {stored[1]} x {stored[0]}, annotated as {size[1]} x {size[0]}"
        raise BadRecord("photo of another size than annotated", where, detail)
    return spool.photo(path, source_id, size)
