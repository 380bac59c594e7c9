"""What a request may ask for, checked before anything is decoded or computed.

Only what travels: how many rows, concepts and pixels. Whether the content is any good the graph says.
"""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
from PIL import Image

from cmask_tf.serving.batching import JOINABLE
from cmask_tf.serving.options import ServerOptions
from cmask_tf.serving.servable import Signature
from cmask_tf.serving.status import invalid

MOST_MASK_BYTES = 256 << 20  # of float32 masks in one answer
# Pillow warns of large images while it reads the header; here they are counted and refused.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def check(signature: Signature, inputs: dict[str, np.ndarray], options: ServerOptions) -> int:
    """The number of rows of a request that is within the limits.

    Args:
        signature: what is asked.
        inputs: arrays that fit it, dimension 0 first.

    Raises:
        Refused: INVALID_ARGUMENT, with the input, its size and the limit.
    """
    sizes = {name: array.shape[0] if array.ndim else 0 for name, array in inputs.items()}
    rows = max(sizes.values())
    if min(sizes.values()) != rows or rows == 0:
        raise invalid(f"inputs with {sizes} rows; expected one or more, the same number in all")
    if signature.name == JOINABLE and rows > options.max_batch_size:
        raise invalid(f"Task size {rows} is larger than maximum batch size {options.max_batch_size}")
    for name in ("concepts", "word_vectors"):
        if name in inputs and not 1 <= inputs[name].shape[1] <= options.max_concepts:
            raise invalid(
                f"{name}: {inputs[name].shape[1]} in a row; expected 1 to {options.max_concepts} "
                "(the server's --max_concepts)"
            )
    for index, content in enumerate(inputs.get("image_bytes", ())):
        _check_header(f"image_bytes[{index}]", content, options.max_image_pixels)
    if "image" in inputs:
        _check_image(inputs, signature, options)
    return rows


def _check_image(inputs: dict[str, np.ndarray], signature: Signature, options: ServerOptions) -> None:
    rows, height, width = inputs["image"].shape[:3]
    _check_pixels("image", (width, height), options.max_image_pixels)
    if height == 0 or width == 0:
        raise invalid(f"image: {height} x {width} pixels; expected at least 1 x 1")
    concepts = inputs["word_vectors"].shape[1] if "word_vectors" in inputs else 1
    needed = math.prod((rows, concepts, height, width, 4))
    if "mask" in signature.outputs and needed > MOST_MASK_BYTES:
        raise invalid(f"masks of {needed} bytes; expected at most {MOST_MASK_BYTES}: ask for fewer concepts")


def _check_header(name: str, content: bytes, most: int) -> None:
    """Reads what a JPEG's or PNG's header says of its size; nothing is decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            size = image.size
    except Image.DecompressionBombError:
        raise invalid(f"{name}: far more pixels than {most} (the server's --max_image_pixels)") from None
    except Exception:  # whatever a broken header leads Pillow to: the graph will say so
        return
    _check_pixels(name, size, most)


def _check_pixels(name: str, size: tuple[int, int], most: int) -> None:
    if size[0] * size[1] > most:
        raise invalid(
            f"{name}: {size[0]} x {size[1]} pixels; expected at most {most} (the server's --max_image_pixels)"
        )
