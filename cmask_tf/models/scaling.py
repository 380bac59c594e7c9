"""Width, depth and output stride of a network: the arithmetic that all backbone families share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class Step(NamedTuple):
    """How one stage moves over its grid."""

    stride: int  # what is left of the nominal stride: 1 where the tail is dilated
    rate: int  # dilation of the convolutions before the stage's stride, and of the strided one itself
    rate_after: int  # dilation of those behind it


def round_channels(channels: int, width: float) -> int:
    """`channels * width`, rounded to a multiple of 8: at least 8, and never more than a tenth below."""
    if width == 1:
        return channels
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def scale_blocks(blocks: int, depth: float) -> int:
    """`blocks * depth`, rounded up."""
    # Rounded first: 10 * 1.1 is 11.000000000000002.
    return math.ceil(round(blocks * depth, 6))


def dilated_tail(strides: Iterable[int], output_stride: int) -> list[Step]:
    """Replaces the strides beyond `output_stride` by dilation, at unchanged weights.

    The dense features, subsampled, are then those of the nominal network (the atrous identity).

    Args:
        strides: the nominal stride of each stage in turn, from the image on.
        output_stride: image pixels per cell of the last grid.
    """
    steps, total, rate = [], 1, 1
    for stride in strides:
        if total * stride <= output_stride:
            total *= stride
            steps.append(Step(stride, rate, rate))
        else:
            steps.append(Step(1, rate, rate * stride))
            rate *= stride
    return steps
