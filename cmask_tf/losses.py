"""The losses of the three stages: cosine embedding (4.1), Eqn. 2 and its relatives (4.2), masks (4.3).

Every function returns one value per example, float32 [B]; the training loop divides their sum by the
global batch, so that unequal replicas and last batches weigh right. Cross entropies start from logits.

Where the paper is silent: concepts of an image enter by their mean, locations by their mean, the N maps of
the matching loss by their sum (as Eqn. 2 is written). Dice terms are ours. A concept id of -1 is padding and
never contributes; an example without an annotated concept (or without a tag) has the loss 0.
"""

from __future__ import annotations

import tensorflow as tf

_SMOOTH = 1.0  # one pixel on both sides of the Dice ratio: defined, and with a gradient, on empty masks


def cosine_embedding(e: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """L_embed = 1 - cos(e, t) (4.1).

    Args:
        e: float32 [B, D], visual embeddings.
        t: float32 [B, D], soft topic embeddings; a null one (no tags) gives the loss 0.

    Returns:
        float32 [B], 0 to 2.
    """
    cosine = tf.reduce_sum(tf.math.l2_normalize(e, axis=-1) * tf.math.l2_normalize(t, axis=-1), axis=-1)
    return tf.where(tf.reduce_any(t != 0.0, axis=-1), 1.0 - cosine, 0.0)


def annotated(logits: tf.Tensor, concepts: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """L_xe(G, alpha), the first term of Eqn. 2.

    Args:
        logits: float32 [B, h, w, V], refined maps before the sigmoid.
        concepts: int32 [B, A], the annotated concepts of each image, unique in an image, -1 is padding.
        targets: float32 [B, h, w, A], G: 1 inside the concept's boxes, 0 outside.

    Returns:
        float32 [B], the mean over locations and over the image's annotated concepts.
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, _columns(logits, concepts))
    return _concept_mean(tf.reduce_mean(entropy, axis=(1, 2)), concepts)


def dice(logits: tf.Tensor, concepts: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Soft Dice of the annotated concepts, an option beside `annotated` (not in the paper).

    Args:
        logits, concepts, targets: as in `annotated`.

    Returns:
        float32 [B], 0 to 1, the mean over the image's annotated concepts.
    """
    chosen = tf.sigmoid(_columns(logits, concepts))
    return _concept_mean(_dice(chosen, targets, axis=(1, 2)), concepts)


def matching(
    logits: tf.Tensor,
    original: tf.Tensor,
    concepts: tf.Tensor,
    n: int,
    threshold: float,
    allowed: tf.Tensor | None = None,
) -> tf.Tensor:
    """sum_{k in Psi_N} L_xe(B(alpha0_k), alpha_k), the second term of Eqn. 2 without its weight c.

    Psi_N holds the n maps with the highest maximum of the original; annotated concepts never enter.

    Args:
        logits: float32 [B, h, w, V], refined maps before the sigmoid.
        original: float32 [B, h, w, V], cosines of the frozen embedding network; no gradient flows into them.
        concepts: int32 [B, A], annotated concepts, -1 is padding.
        n: how many maps enter (800 in the paper); fewer when fewer are left.
        threshold: B(alpha0) is 1 where alpha0 > threshold (0.2 in the paper).
        allowed: bool [B, V], the concepts that may enter; all by default.

    Returns:
        float32 [B], the mean over locations, summed over the maps.
    """
    original = tf.stop_gradient(original)
    chosen = strongest(original, concepts, n, allowed)
    return matching_chosen(_columns(logits, chosen), _columns(original, chosen) > threshold, chosen)


def strongest(
    original: tf.Tensor, concepts: tf.Tensor, n: int, allowed: tf.Tensor | None = None
) -> tf.Tensor:
    """Psi_N of Eqn. 2, the highest maximum first; of equal ones the lower id.

    Args:
        original, concepts, n, allowed: as in `matching`.

    Returns:
        int32 [B, min(n, V)], -1 where fewer are left.
    """
    count = original.shape[-1]
    barred = tf.reduce_any(tf.one_hot(concepts, count, True, False, dtype=tf.bool), axis=1)
    if allowed is not None:
        barred |= ~allowed
    highest = tf.where(barred, float("-inf"), tf.reduce_max(original, axis=(1, 2)))
    maxima, chosen = tf.math.top_k(highest, k=min(n, count))
    return tf.where(tf.math.is_inf(maxima), -1, chosen)


def matching_chosen(logits: tf.Tensor, binary: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """`matching`, given each image's own maps.

    Args:
        logits: float32 [B, h, w, n], the refined maps in Psi_N before the sigmoid.
        binary: bool [B, h, w, n], B(alpha0) of these maps.
        chosen: int32 [B, n], their concepts, -1 is padding.

    Returns:
        float32 [B], the mean over locations, summed over the maps.
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(binary, tf.float32), logits)
    return tf.reduce_sum(tf.where(chosen >= 0, tf.reduce_mean(entropy, axis=(1, 2)), 0.0), axis=-1)


def spatial_discrimination(
    logits: tf.Tensor,
    concepts: tf.Tensor,
    targets: tf.Tensor,
    gamma: tf.Tensor,
    keep_positives: bool,
    boxed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Where concept i is true, concepts j that do not overlap it should be 0 (4.2, Eqn. 4).

    The paper gives no formula. Ours: gamma_ij L_xe(0, alpha_j) at the locations where G_i = 1, averaged over
    those locations, over the j with gamma_ij > 0, and over the image's annotated concepts i.

    Args:
        logits, concepts, targets: as in `annotated`.
        gamma: float32 [V, V] from `overlap.discrimination_weights`; [J, J] when `boxed` is given.
        keep_positives: leave out the locations that G_j marks as j, from the sum and from the average.
        boxed: int32 [J], the concepts that gamma's rows and columns stand for (750 of 18,000 in the paper);
            the other logits are never touched. All V in order by default.

    Returns:
        float32 [B].
    """
    if boxed is None:
        boxed = tf.range(logits.shape[-1], dtype=concepts.dtype)
    same = concepts[:, :, None] == boxed  # [B, A, J]
    weights = tf.gather(gamma, tf.argmax(same, axis=-1))  # [B, A, J]
    weights = tf.where(tf.reduce_any(same, axis=-1, keepdims=True), weights, 0.0)
    fading = tf.nn.softplus(tf.gather(logits, boxed, axis=-1))  # L_xe(0, alpha_j) [B, h, w, J]
    true_i = tf.where(concepts[:, None, None, :] >= 0, targets, 0.0)  # [B, h, w, A]
    free = tf.ones_like(fading)
    if keep_positives:
        free -= tf.einsum("bhwa,baj->bhwj", true_i, tf.cast(same, tf.float32))
    total = tf.einsum("bhwi,bhwj->bij", true_i, fading * free)
    pair = tf.math.divide_no_nan(total, tf.einsum("bhwi,bhwj->bij", true_i, free))
    pairs = tf.math.count_nonzero(weights, axis=-1, dtype=tf.float32)
    return _concept_mean(tf.math.divide_no_nan(tf.reduce_sum(weights * pair, axis=-1), pairs), concepts)


def mask_loss(logits: tf.Tensor, mask: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Sigmoid cross entropy of Stage 3's mask (4.3), the weighted mean over pixels (and planes).

    Args:
        logits: float32 [B, S, S, 1].
        mask: float32 [B, S, S, 1], 0 or 1.
        weight: float32 [B, S, S, 1], 0 on crowd pixels; an example of weight 0 everywhere has the loss 0.

    Returns:
        float32 [B].
    """
    entropy = weight * tf.nn.sigmoid_cross_entropy_with_logits(mask, logits)
    pixels = (1, 2, 3)
    return tf.math.divide_no_nan(tf.reduce_sum(entropy, axis=pixels), tf.reduce_sum(weight, axis=pixels))


def mask_dice(logits: tf.Tensor, mask: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Soft Dice of Stage 3's mask, an option beside `mask_loss` (not in the paper).

    Args:
        logits, mask, weight: as in `mask_loss`.

    Returns:
        float32 [B], 0 to 1.
    """
    return _dice(weight * tf.sigmoid(logits), weight * mask, axis=(1, 2, 3))


def box_projection(logits: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """A mask that boxes alone tell of fills their rows and columns and nothing outside (not in the paper).

    The sum of the Dice of the maxima over columns, that over rows (BoxInst, arXiv 2012.02310, Eqn. 2), and
    the cross entropy outside the boxes, by its mean over all pixels.

    Args:
        logits: float32 [B, S, S, 1].
        boxes: float32 [B, S, S, 1], 1 inside any of the concept's boxes, else 0.

    Returns:
        float32 [B].
    """
    mask, total = tf.sigmoid(logits), 0.0
    for axis in (1, 2):
        total += _dice(tf.reduce_max(mask, axis), tf.reduce_max(boxes, axis), axis=(1, 2))
    outside = (1 - boxes) * tf.nn.softplus(logits)
    return total + tf.reduce_mean(outside, axis=(1, 2, 3))


def present_dice(logits: tf.Tensor, mask: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Soft Dice of the planes that show something, for a network with one plane a concept (not in the paper).

    Args:
        logits, mask, weight: float32 [B, S, S, P], as in `mask_loss`.

    Returns:
        float32 [B], 0 to 1, the mean over the planes whose mask is not empty; 0 without any.
    """
    dice = _dice(weight * tf.sigmoid(logits), weight * mask, axis=(1, 2))
    present = tf.cast(tf.reduce_any(mask > 0, axis=(1, 2)), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(present * dice, -1), tf.reduce_sum(present, -1))


def _columns(maps: tf.Tensor, concepts: tf.Tensor) -> tf.Tensor:
    """[B, h, w, V] maps at int [B, A] concepts -> [B, h, w, A]; padding reads map 0, to be masked later."""
    return tf.gather(maps, tf.maximum(concepts, 0), axis=3, batch_dims=1)


def _concept_mean(values: tf.Tensor, concepts: tf.Tensor) -> tf.Tensor:
    """[B, A] values -> [B], the mean over the concepts that are not padding; 0 without any."""
    real = concepts >= 0
    total = tf.reduce_sum(tf.where(real, values, 0.0), axis=-1)
    return tf.math.divide_no_nan(total, tf.math.count_nonzero(real, axis=-1, dtype=tf.float32))


def _dice(predicted: tf.Tensor, true: tf.Tensor, axis: tuple[int, ...]) -> tf.Tensor:
    shared = tf.reduce_sum(predicted * true, axis=axis)
    sizes = tf.reduce_sum(predicted, axis=axis) + tf.reduce_sum(true, axis=axis)
    return 1.0 - (2.0 * shared + _SMOOTH) / (sizes + _SMOOTH)
