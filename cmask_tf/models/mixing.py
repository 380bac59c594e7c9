"""Weakly supervised mixing: how a concept without boxes borrows the map of one that has them (4.4).

A concept q with boxes or masks uses its refined map. One with image-level tags alone uses
theta * q + (1 - theta) * p, where p is the nearest concept with boxes. A word outside the trained concepts
has no refined map: its coarse map (Eqn. 1), clipped at 0, takes the place of q, with a theta of its own. Both
maps are stretched to [0, 1] before they are mixed. `mixing.json` (see `neighbour_table`) holds p(q) by name
and both thetas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.errors import UserError
from cmask_tf.models.neighbour_table import BOXED, entries_of
from cmask_tf.models.verification import SLOPE, threshold_table
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.neighbours import second_order_rows

DIRECT, REFINED, COARSE = 0, 1, 2  # which map stands for q, and whether it is mixed


@dataclass(frozen=True)
class ConceptTable:
    """What `resolve` looks up: one row a vocabulary entry. -1 stands for none."""

    vectors: np.ndarray  # float32 [V', D], the vocabulary's own array
    trained: np.ndarray  # int32 [V], the entry of each trained concept
    column: np.ndarray  # int32 [V'], the trained concept of each entry
    path: np.ndarray  # int32 [V'], DIRECT, REFINED or COARSE
    neighbour: np.ndarray  # int32 [V'], p's column among the trained concepts
    theta: np.ndarray  # float32 [V']
    threshold: np.ndarray  # float32 [V'], verification, raw cosine
    candidates: np.ndarray  # int32 [P], the entries of the box-supervised concepts
    outside_theta: float
    outside_threshold: float
    profiles: np.ndarray | None  # float32 [P, V'], the candidates' second-order rows; None for "pmi"
    slope: float = SLOPE  # of scores, see `verification.calibrate`

    @classmethod
    def build(
        cls,
        vocabulary: Vocabulary,
        concepts: Sequence[Mapping],
        mixing: Mapping,
        thresholds: Mapping | None = None,
    ) -> ConceptTable:
        """Joins the files of a model directory.

        Args:
            vocabulary: all words.
            concepts: `concepts.json`, the trained concepts in order.
            mixing: `mixing.json`, see `neighbour_table.build_mixing`.
            thresholds: `thresholds.json`, None before calibration.

        Raises:
            UserError: p(q) is missing, or is not a box-supervised concept.
        """
        trained = np.array(entries_of(vocabulary, concepts), np.int32)
        column = np.full(len(vocabulary), -1, np.int32)
        column[trained] = np.arange(len(trained), dtype=np.int32)
        path = np.full(len(vocabulary), COARSE, np.int32)
        path[trained] = [DIRECT if c["level"] in BOXED else REFINED for c in concepts]
        candidates = np.flatnonzero(path == DIRECT).astype(np.int32)
        neighbour = _neighbour_columns(vocabulary, mixing, path, column)
        thetas = np.array([1.0, mixing["theta"]["image"], mixing["theta"]["zero"]], np.float32)
        threshold, outside = threshold_table(vocabulary.names, column >= 0, thresholds)
        second_order = mixing["neighbours"] == "second_order" and len(candidates)
        return cls(
            vectors=vocabulary.vectors,
            trained=trained,
            column=column,
            path=path,
            neighbour=neighbour,
            theta=np.where(neighbour < 0, np.float32(1), thetas[path]),
            threshold=threshold,
            candidates=candidates,
            outside_theta=float(mixing["theta"]["zero"]) if len(candidates) else 1.0,
            outside_threshold=outside,
            slope=float((thresholds or {}).get("slope", SLOPE)),
            profiles=second_order_rows(vocabulary, candidates) if second_order else None,
        )


def _neighbour_columns(
    vocabulary: Vocabulary, mixing: dict, path: np.ndarray, column: np.ndarray
) -> np.ndarray:
    """p's column for every entry that mixes; -1 where the entry has boxes, or where no concept has."""
    neighbour = np.full(len(path), -1, np.int32)
    if not (path == DIRECT).any():
        return neighbour
    entry = {name: i for i, name in enumerate(vocabulary.names)}
    for q in np.flatnonzero(path != DIRECT):
        name = vocabulary.names[q]
        p = mixing["p"].get(name)
        if p is None:
            raise UserError(f"mixing.json: p: no neighbour for {name!r}")
        if p not in entry or path[entry[p]] != DIRECT:
            raise UserError(f"mixing.json: p: {name!r}: expected a concept with boxes or masks, not {p!r}")
        neighbour[q] = column[entry[p]]
    return neighbour


def nearest_by_profile(
    rows: tf.Tensor, own: tf.Tensor, profiles: tf.Tensor, candidates: tf.Tensor
) -> tf.Tensor:
    """Second-order neighbours in the graph: `vocabulary.neighbours.second_order_of_vectors`, its best.

    The cosine of a row with each candidate's profile, where both leave out the candidate's own entry and the
    entry of the word that the row itself resembles most.

    Args:
        rows: float32 [K, V'], rebuilt PMI rows.
        own: int32 [K], the entry nearest to each row's word.
        profiles: float32 [P, V'], the candidates' log-ratio rows, 0 at their own entries.
        candidates: int32 [P], the candidates' entries.

    Returns:
        int64 [K], positions among the candidates.
    """
    rows = tf.where(tf.range(tf.shape(rows)[1]) == own[:, None], 0.0, rows)
    left = tf.reduce_sum(rows**2, axis=1)[:, None] - tf.gather(rows, candidates, axis=1) ** 2
    right = tf.reduce_sum(profiles**2, axis=1) - tf.transpose(tf.gather(profiles, own, axis=1)) ** 2
    squares = tf.maximum(left * right, 1e-12)  # [K, P]
    return tf.argmax(tf.matmul(rows, profiles, transpose_b=True) / tf.sqrt(squares), axis=1)


def mix(
    path: tf.Tensor, theta: tf.Tensor, refined_q: tf.Tensor, refined_p: tf.Tensor, coarse_q: tf.Tensor
) -> tf.Tensor:
    """The map given to stage 3, one scale.

    Args:
        path: int32 [K], DIRECT, REFINED or COARSE.
        theta: float32 [K].
        refined_q: float32 [K, h, w] in [0, 1]; not read on the path COARSE.
        refined_p: float32 [K, h, w] in [0, 1]; not read on the path DIRECT.
        coarse_q: float32 [K, h, w] cosines.

    Returns:
        float32 [K, h, w] in [0, 1]; not stretched after mixing.
    """
    path, theta = path[:, None, None], theta[:, None, None]
    own = tf.where(path == COARSE, tf.maximum(coarse_q, 0), refined_q)
    mixed = theta * geometry.min_max(own, (1, 2)) + (1 - theta) * geometry.min_max(refined_p, (1, 2))
    return tf.where(path == DIRECT, refined_q, mixed)
