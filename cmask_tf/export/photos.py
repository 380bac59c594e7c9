"""JPEG and PNG bytes to the squares that the networks see, in the graph; a bad image spoils its row only.

A decoder that meets bad bytes ends the whole call, and a graph cannot catch that. A `tf.data` pipeline of one
element can: it drops what fails. Pixels are as `imageio.read_image` gives them, but for EXIF's orientation:
JPEG as Pillow decodes it, transparent PNG pixels over white, of 16 bits the high byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.export.signatures import MAX_PIXELS

_AT_ONCE = 4  # images that are decoded side by side: the memory of decoding is that of so many
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def decode(encoded: tf.Tensor, sizes: Sequence[int]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Decodes a batch of images of any sizes, resized for the networks.

    Args:
        encoded: string [B], JPEG or PNG.
        sizes: sides of squares, px.

    Returns:
        squares: str(size) -> float32 RGB [B, size, size, 3], 0 to 255; zeros where it does not decode.
        shapes: int32 [B, 2], height and width; 0, 0 where it does not decode or has too many pixels.
    """

    def squares(one: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        image = _pixels(one)
        return {str(size): geometry.resize_image(image, size) for size in sizes}, tf.shape(image)[:2]

    def nothing() -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return {str(size): tf.zeros([size, size, 3]) for size in sizes}, tf.zeros([2], tf.int32)

    def squares_or_nothing(one: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        good = tf.data.Dataset.from_tensors(one).map(squares).ignore_errors()
        return good.concatenate(tf.data.Dataset.from_tensors(nothing())).take(1).get_single_element()

    kinds = {str(size): tf.TensorSpec([size, size, 3], tf.float32) for size in sizes}
    kinds = kinds, tf.TensorSpec([2], tf.int32)
    return tf.map_fn(squares_or_nothing, encoded, fn_output_signature=kinds, parallel_iterations=_AT_ONCE)


def _pixels(encoded: tf.Tensor) -> tf.Tensor:
    """uint8 RGB [H, W, 3]; fails for what is no JPEG or PNG, is damaged, or has too many pixels."""
    is_jpeg = tf.strings.substr(encoded, 0, tf.minimum(tf.strings.length(encoded), 3)) == _JPEG
    image = tf.cond(is_jpeg, lambda: _jpeg(encoded), lambda: _png(encoded))
    return tf.ensure_shape(image, [None, None, 3])


def _jpeg(encoded: tf.Tensor) -> tf.Tensor:
    with _few_pixels(tf.io.extract_jpeg_shape(encoded)):
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _png(encoded: tf.Tensor) -> tf.Tensor:
    # The signature, the length and the name of the first chunk, then its width and height.
    is_png = tf.strings.substr(encoded, 0, 8) == _PNG
    with tf.control_dependencies([tf.debugging.Assert(is_png, ["not a PNG"])]):
        size = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
    with _few_pixels(size):
        return tf.cond(
            _is_transparent(encoded),
            lambda: _over_white(tf.io.decode_png(encoded, channels=4)),
            lambda: tf.io.decode_png(encoded, channels=3),
        )


def _is_transparent(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a PNG has an alpha channel, or a chunk that makes a colour transparent.

    Four channels are not asked of others: with fewer than 8 bits the decoder adds an alpha that is too small.
    """
    kind = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 25, 1), tf.uint8)[0], tf.int32)
    before_pixels = tf.strings.split([encoded], b"IDAT", maxsplit=1).flat_values[0]
    return (tf.bitwise.bitwise_and(kind, 4) > 0) | tf.strings.regex_full_match(before_pixels, r"\C*tRNS\C*")


def _few_pixels(shape: tf.Tensor):
    sides = tf.cast(shape[:2], tf.int64)
    few = tf.reduce_all(sides > 0) & (sides[0] * sides[1] <= MAX_PIXELS)
    return tf.control_dependencies([tf.debugging.Assert(few, ["too many pixels"])])


def _over_white(image: tf.Tensor) -> tf.Tensor:
    """uint8 RGBA [H, W, 4] to RGB, as Pillow rounds it."""
    rgb, alpha = tf.cast(image[..., :3], tf.int32), tf.cast(image[..., 3:], tf.int32)
    scaled = (rgb * alpha + 255 * (255 - alpha)) * 128 + 128 * 128
    scaled = tf.bitwise.right_shift(tf.bitwise.right_shift(scaled, 8) + scaled, 8)
    blended = tf.cast(tf.bitwise.right_shift(scaled, 7), tf.uint8)
    return tf.where(alpha == 255, image[..., :3], blended)
