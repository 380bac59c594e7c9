"""The whole system as one feed-forward model: image and word vectors in, masks and scores out (section 4).

Three steps, each of which also converts: `resolve` (word vectors -> concept parameters), `encode` (image ->
features, the heavy part, once) and `decode` (both -> masks and scores). Beyond the paper, and exact: the
coarse maps and the first refinement layer are folded into one matrix, and the second layer is evaluated for
the concepts asked for alone, so the V maps are never formed. No step lets one concept see another.

Memory of the parameters besides the networks' own, float32, at the paper's size: word vectors V' x D 295 MB,
second refinement layer V x bottleneck 144 MB, folded matrix 33 MB; with second-order neighbours also P x V',
54 MB. The refinement network itself is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import config, geometry
from cmask_tf.models import attention, embedding, mixing, refinement, verification

# At float32, a vector this close to a vocabulary entry is that entry.
SAME_WORD = 1 - 1e-4
# The segmentation encoder's maps among the features.
_MAP = "segmentation_"


def _fixed(value, dtype, name: str) -> tf.Variable:
    # Variables, not constants: a SavedModel keeps these apart from its graph, which is limited to 2 GB.
    return tf.Variable(tf.convert_to_tensor(value, dtype), trainable=False, name=name)


class ConceptMaskModel(tf.Module):
    """`mask = f(image, concept)`, from the parts of a model directory.

    Args:
        settings: the config of the parts.
        parts: "backbone", "embedding", "refinement", "segmentation_encoder", "segmentation_decoder".
        table: what is known of every vocabulary entry.
    """

    def __init__(
        self, settings: config.Config, parts: Mapping[str, keras.Model], table: mixing.ConceptTable
    ) -> None:
        super().__init__(name="concept_mask")
        self.sizes = tuple(settings.attention.sizes)
        self.size = settings.segmentation.size
        self.backbone = parts["backbone"]
        self.head = parts["embedding"]
        self.segmentation_encoder = parts["segmentation_encoder"]
        self.segmentation_decoder = parts["segmentation_decoder"]
        self._hold_words(table)
        self._hold_refinement(parts["refinement"], table)

    def _hold_words(self, table: mixing.ConceptTable) -> None:
        vectors = tf.convert_to_tensor(table.vectors, tf.float32)
        self.words = _fixed(tf.nn.l2_normalize(vectors, -1), tf.float32, "words")  # [V', D]
        self.candidates = _fixed(table.candidates, tf.int32, "candidates")  # [P]
        for name in ("column", "path", "neighbour"):
            setattr(self, name, _fixed(getattr(table, name), tf.int32, name))  # [V']
        for name in ("theta", "threshold"):
            setattr(self, name, _fixed(getattr(table, name), tf.float32, name))  # [V']
        self.outside_theta = table.outside_theta
        self.outside_threshold = table.outside_threshold
        self.profiles = None
        if table.profiles is not None:
            self.profiles = _fixed(table.profiles, tf.float32, "profiles")  # [P, V']
            self.lengths = _fixed(tf.norm(vectors, axis=-1), tf.float32, "lengths")  # [V']

    def _hold_refinement(self, network: keras.Model, table: mixing.ConceptTable) -> None:
        matrix, bias = refinement.fold(network, tf.gather(self.words, table.trained))
        self.fold_matrix = _fixed(matrix, tf.float32, "fold_matrix")  # [D, bottleneck]
        self.fold_bias = _fixed(bias, tf.float32, "fold_bias")
        weights, bias = refinement.columns(network, np.arange(len(table.trained)))
        self.column_weights = _fixed(weights, tf.float32, "column_weights")  # [V, bottleneck]
        self.column_bias = _fixed(bias, tf.float32, "column_bias")

    @tf.function(reduce_retracing=True)
    def resolve(self, word_vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the network must know of each concept; independent of any image.

        Args:
            word_vectors: float32 [K, D]. One that equals a vocabulary entry (cosine above 1 - 1e-4) is
                treated as that entry, any other as a word outside the vocabulary.

        Returns:
            "vector" [K, D], "entry" int32 [K] (-1 outside), "path" int32 [K], "theta", "threshold" [K],
            "q_weights", "p_weights" [K, bottleneck], "q_bias", "p_bias" [K]: the refinement's columns of q
            and p (of some other concept where they are not used).
        """
        given = tf.nn.l2_normalize(word_vectors, -1)
        cosines = tf.matmul(given, self.words, transpose_b=True)  # [K, V']
        best = tf.argmax(cosines, axis=1, output_type=tf.int32)
        known = tf.reduce_max(cosines, axis=1) > SAME_WORD

        def look_up(column: tf.Variable, outside) -> tf.Tensor:
            return tf.where(known, tf.gather(column, best), outside)

        q = look_up(self.column, -1)
        p = look_up(self.neighbour, self._outside_neighbour(cosines, best))
        return {
            "vector": tf.where(known[:, None], tf.gather(self.words, best), given),
            "entry": tf.where(known, best, -1),
            "path": look_up(self.path, mixing.COARSE),
            "theta": look_up(self.theta, self.outside_theta),
            "threshold": look_up(self.threshold, self.outside_threshold),
            "q_weights": tf.gather(self.column_weights, tf.maximum(q, 0)),
            "q_bias": tf.gather(self.column_bias, tf.maximum(q, 0)),
            "p_weights": tf.gather(self.column_weights, tf.maximum(p, 0)),
            "p_bias": tf.gather(self.column_bias, tf.maximum(p, 0)),
        }

    def _outside_neighbour(self, cosines: tf.Tensor, best: tf.Tensor) -> tf.Tensor:
        """p's column for words outside the vocabulary: int32 [K], -1 when no concept has boxes."""
        if self.candidates.shape[0] == 0:
            return tf.fill(tf.shape(cosines)[:1], -1)
        if self.profiles is None:
            position = tf.argmax(tf.gather(cosines, self.candidates, axis=1), axis=1)
        else:
            # A bare vector's PMI row is W . w, with W as long as it was before it was normalised.
            position = mixing.nearest_by_profile(cosines * self.lengths, best, self.profiles, self.candidates)
        return tf.gather(self.column, tf.gather(self.candidates, position))

    def encode(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Everything that does not depend on the concept; the heavy part.

        Args:
            image: uint8 or float32 RGB [B, H, W, 3], 0 to 255.

        Returns:
            See `encode_squares`.
        """
        squares = {str(s): geometry.resize_image(image, s) for s in sorted({*self.sizes, self.size})}
        return self.encode_squares(squares)

    @tf.function(reduce_retracing=True)
    def encode_squares(self, squares: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`encode` of photos that are resized already (TFLite cannot resize with antialiasing).

        Args:
            squares: str(size) -> float32 RGB [B, size, size, 3] for the attention sizes and the mask size.

        Returns:
            "embedding_1", "embedding_2" [B, h_i, w_i, D], L2-normalised; "hidden_1", "hidden_2"
            [B, h_i, w_i, bottleneck], the refinement's hidden maps; "c5" [B, h_1, w_1, C]; and
            "segmentation_..." the segmentation encoder's maps.
        """
        features = {}
        for number, size in enumerate(self.sizes, start=1):
            e, c5 = embedding.embed_map(self.backbone, self.head, squares[str(size)], training=False)
            e = tf.nn.l2_normalize(e, -1)
            features[f"embedding_{number}"] = e
            features[f"hidden_{number}"] = tf.nn.relu(tf.tensordot(e, self.fold_matrix, 1) + self.fold_bias)
            if number == 1:
                features["c5"] = c5
        maps = self.segmentation_encoder(squares[str(self.size)], training=False)
        return features | {_MAP + name: value for name, value in maps.items()}

    @tf.function(reduce_retracing=True)
    def attention(
        self, features: dict[str, tf.Tensor], parameters: dict[str, tf.Tensor], rows: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The attention maps of K concepts, each in its own image.

        Args:
            features: of B images, from `encode`.
            parameters: of K concepts, from `resolve`.
            rows: int32 [K], the image that each concept is looked for in.

        Returns:
            maps: for each scale float32 [K, h_i, w_i] in [0, 1], given to stage 3 (there stretched).
            coarse: for each scale float32 [K, h_i, w_i], cosines (Eqn. 1).
        """
        maps, coarse = [], []
        for number in range(1, len(self.sizes) + 1):
            hidden = features[f"hidden_{number}"]
            q = _select(hidden, parameters["q_weights"], rows) + parameters["q_bias"][:, None, None]
            p = _select(hidden, parameters["p_weights"], rows) + parameters["p_bias"][:, None, None]
            coarse.append(_select(features[f"embedding_{number}"], parameters["vector"], rows))
            path, theta = parameters["path"], parameters["theta"]
            maps.append(mixing.mix(path, theta, tf.sigmoid(q), tf.sigmoid(p), coarse[-1]))
        return maps, coarse

    @tf.function(reduce_retracing=True)
    def decode(
        self, features: dict[str, tf.Tensor], parameters: dict[str, tf.Tensor], rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Masks and scores of K concepts, each in its own image. Memory grows with K: callers chunk.

        Args:
            features: of B images, from `encode`.
            parameters: of K concepts, from `resolve`.
            rows: int32 [K], the image that each concept is looked for in.

        Returns:
            probabilities: float32 [K, S, S].
            scores: float32 [K] in [0, 1], calibrated: 0.5 is the concept's threshold.
            raw: float32 [K], the cosines behind the scores.
        """
        maps, _ = self.attention(features, parameters, rows)
        inputs = {k.removeprefix(_MAP): tf.gather(v, rows) for k, v in features.items() if k.startswith(_MAP)}
        inputs["attention"] = attention.stack_scales(maps, self.size)
        probabilities = tf.sigmoid(self.segmentation_decoder(inputs, training=False))[..., 0]
        c5 = tf.gather(features["c5"], rows)
        raw = verification.raw_score(self.head, c5, maps[0], parameters["vector"])
        return probabilities, verification.calibrate(raw, parameters["threshold"]), raw


def _select(features: tf.Tensor, weights: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """features[rows[k]] . weights[k]: [B, h, w, F], [K, F], [K] -> [K, h, w].

    Every concept meets every image and the pairs asked for are picked: B times the products, but no copy of
    an image's features for each concept.
    """
    every = tf.einsum("bhwf,kf->kbhw", features, weights)
    return tf.gather(every, rows, axis=1, batch_dims=1)
