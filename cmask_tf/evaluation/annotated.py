"""Which absences the annotations tell: presence is measured on fully annotated photos alone (supplement 5).

Open Images and Visual Genome name some of what a photo shows. In a file with pseudo masks, made from their
boxes, what is not named may be there all the same; only photos with drawn masks, COCO's, are fully annotated,
and for the mask-level concepts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cmask_tf.data import fields
from cmask_tf.data.coco import entries


def told_absent(annotations: Path, about: Mapping[str, Mapping[str, str]]) -> list[frozenset[str]] | None:
    """The concepts whose absence is known, of each photo in the file's order.

    Args:
        annotations: a COCO instances file that was read without a fault; its pseudo masks carry
            `"pseudo": true`.
        about: name -> {"level"} of its concepts.

    Returns:
        None where no mask is a pseudo mask: everything that is not annotated is absent.
    """
    if not any(entry.get("pseudo") for _, entry in entries(annotations, "annotation")):
        return None
    drawn = {
        fields.identifier(entry, ("image_id",), where)
        for where, entry in entries(annotations, "annotation")
        if not entry.get("pseudo")
    }
    masks, nothing = frozenset(name for name, row in about.items() if row["level"] == "mask"), frozenset()
    return [
        masks if fields.identifier(entry, ("id",), where) in drawn else nothing
        for where, entry in entries(annotations, "image")
    ]
