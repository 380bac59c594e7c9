"""Mixed precision: networks compute in a half format, on float32 variables, to float32 results.

What ends a network (word vectors, logits) and what normalises the photo at its start is float32 in every
precision; batch normalization and the losses are too. The networks of a model directory do not know in which
precision they were trained: they are built in float32 unless this says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Networks that are built inside compute in this precision, also later; the ones outside do not.

    Args:
        name: "float32", "mixed_bfloat16" or "mixed_float16".
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
