"""The whole system as one feed-forward model: image and word vectors in, masks and scores out (section 4).

Three steps, each of which also converts: `resolve` (word vectors -> concept parameters), `encode` (image ->
features, the heavy part, once) and `decode` (both -> masks and scores). Beyond the paper, and exact: the
coarse maps and the first refinement layer are folded into one matrix, the second layer is evaluated for the
concepts asked for alone, so the V maps are never formed, and every batch normalization is folded into the
convolution before it. No step lets one concept see another.

Memory of the parameters besides the networks' own, float32, at the paper's size: word vectors V' x D 295 MB,
second refinement layer V x bottleneck 144 MB, folded matrix 33 MB; with second-order neighbours also P x V',
54 MB. The first two are tables of which a concept needs a row or two, and may be held in half precision. The
networks that were given are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import config, geometry
from cmask_tf.models import attention, mixing, refinement, segmentation, verification
from cmask_tf.models.folding import folded
from cmask_tf.models.levels import split
from cmask_tf.models.pairing import asked, select, shared
from cmask_tf.models.recognition import DIMENSIONS, SAME_WORD, recognise

# The segmentation encoder's maps among the features.
_MAP = "segmentation_"
# Rows of a table in half precision that are float32 at a time.
_ROWS = 1024


def _fixed(value, dtype, name: str) -> tf.Variable:
    # Variables, not constants: a SavedModel keeps these apart from its graph, which is limited to 2 GB.
    return tf.Variable(tf.convert_to_tensor(value, dtype), trainable=False, name=name)


class ConceptMaskModel(tf.Module):
    """`mask = f(image, concept)`, from the parts of a model directory.

    Args:
        settings: the config of the parts.
        parts: by name, all of a model directory (`model_directory.parts_of`). Without "verification" and
            "verification_words" the embedding head is asked for the word vector (supplement 5).
        table: what is known of every vocabulary entry.
        tables: "float32" or "float16", how word vectors and the second refinement layer are held. Rows are
            float32 as soon as they are read; float16 rounds their numbers to 11 bits.
    """

    def __init__(
        self,
        settings: config.Config,
        parts: Mapping[str, keras.Model],
        table: mixing.ConceptTable,
        tables: str = "float32",
    ) -> None:
        super().__init__(name="concept_mask")
        self.sizes = tuple(settings.attention.sizes)
        self.size = settings.segmentation.size
        self.output_stride = settings.backbone.output_stride
        self.backbone = folded(parts["backbone"])
        self.head = folded(parts["embedding"])
        self.verifier = folded(parts["verification"]) if "verification" in parts else self.head
        self.segmentation_encoder = folded(parts["segmentation_encoder"])
        self.segmentation_decoder, self.strides = split(folded(parts["segmentation_decoder"]))
        self._hold_words(table, tables)
        self._hold_refinement(parts["refinement"], table, tables)
        self._hold_sought(parts.get("verification_words"), tables)
        self._fix_signatures()

    def _hold_words(self, table: mixing.ConceptTable, dtype: str) -> None:
        words = np.empty(table.vectors.shape, dtype)
        for start in range(0, len(words), _ROWS):
            rows = slice(start, start + _ROWS)
            words[rows] = tf.nn.l2_normalize(tf.cast(table.vectors[rows], tf.float32), -1)
        self.words = _fixed(words, dtype, "words")  # [V', D]
        # Half precision leaves rows that are not quite of length 1.
        lengths = np.array([np.linalg.norm(row.astype(np.float32)) for row in words])
        stretch = 1 / np.maximum(lengths, 1e-6)
        self.stretch = _fixed(stretch, tf.float32, "stretch")  # [V']
        leading = words[:, :DIMENSIONS].astype(np.float32) * stretch[:, None]
        self.leading = _fixed(leading, tf.float32, "leading")  # [V', 128], see `recognition`
        self.candidates = _fixed(table.candidates, tf.int32, "candidates")  # [P]
        for name in ("column", "path", "neighbour"):
            setattr(self, name, _fixed(getattr(table, name), tf.int32, name))  # [V']
        for name in ("theta", "threshold"):
            setattr(self, name, _fixed(getattr(table, name), tf.float32, name))  # [V']
        self.outside_theta = table.outside_theta
        self.outside_threshold = table.outside_threshold
        self.slope = _fixed(table.slope, tf.float32, "slope")
        self.profiles = None
        if table.profiles is not None:
            self.profiles = _fixed(table.profiles, tf.float32, "profiles")  # [P, V']
            self.lengths = _fixed(np.linalg.norm(table.vectors, axis=-1), tf.float32, "lengths")  # [V']

    def _hold_refinement(self, network: keras.Model, table: mixing.ConceptTable, dtype: str) -> None:
        matrix, bias = refinement.fold(network, table.vectors[table.trained])
        self.fold_matrix = _fixed(matrix, tf.float32, "fold_matrix")  # [D, bottleneck]
        self.fold_bias = _fixed(bias, tf.float32, "fold_bias")
        weights, bias = refinement.columns(network, np.arange(len(table.trained)))
        self.column_weights = _fixed(tf.cast(weights, dtype), dtype, "column_weights")  # [V, bottleneck]
        self.column_bias = _fixed(bias, tf.float32, "column_bias")

    def _hold_sought(self, words: keras.Model | None, dtype: str) -> None:
        self.own = None  # the word vector itself is sought
        if words is not None:
            matrix, bias, own = verification.tables(words)  # [D, H], [H], [V, H]
            self.sought_matrix = _fixed(matrix, tf.float32, "sought_matrix")
            self.sought_bias = _fixed(bias, tf.float32, "sought_bias")
            self.own = _fixed(own.astype(dtype), dtype, "own")

    def _fix_signatures(self) -> None:
        # One graph a step, whatever the numbers of photos and concepts; traced anew it would be for each.
        dim, width = self.fold_matrix.shape
        squares = {str(s): _spec([None, s, s, 3]) for s in sorted({*self.sizes, self.size})}
        self.resolve = _traced_once(self.resolve, _spec([None, dim]))
        self.resolve_entries = _traced_once(self.resolve_entries, _spec([None], tf.int32))
        self.encode_squares = _traced_once(self.encode_squares, squares)
        photos = [None, None, None, 3]
        self._encode_bytes = _traced_once(self._encode, _spec(photos, tf.uint8))
        self._encode_floats = _traced_once(self._encode, _spec(photos))
        c5 = self.backbone.output["c5"]
        # Grids that are known: what depends on them alone is worked out when the graph is made.
        grids = [-(-size // self.output_stride) for size in self.sizes]
        features = {"c5": _spec([None, grids[0], grids[0], c5.shape[-1]], c5.dtype)}
        for number, grid in enumerate(grids, start=1):
            features[f"embedding_{number}"] = _spec([None, grid, grid, dim])
            features[f"hidden_{number}"] = _spec([None, grid, grid, width])
        maps = self.segmentation_encoder.output
        features |= {_MAP + name: _spec(value.shape, value.dtype) for name, value in maps.items()}
        parameters = {name: _spec([None, width]) for name in ("q_weights", "p_weights")}
        sought = dim if self.own is None else self.own.shape[1]
        parameters |= {"vector": _spec([None, dim]), "sought": _spec([None, sought])}
        parameters |= {name: _spec([None]) for name in ("theta", "threshold", "q_bias", "p_bias")}
        parameters |= {name: _spec([None], tf.int32) for name in ("entry", "path")}
        of_concepts = features, parameters, _spec([None], tf.int32)
        self.attention = _traced_once(self.attention, *of_concepts)
        self.raw_scores = _traced_once(self.raw_scores, *of_concepts)
        self.decode = _traced_once(self.decode, *of_concepts)

    def resolve(self, word_vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the network must know of each concept; independent of any image.

        Args:
            word_vectors: float32 [K, D]. One that equals a vocabulary entry (cosine above 1 - 1e-4) is
                treated as that entry, any other as a word outside the vocabulary.

        Returns:
            "vector" [K, D], "entry" int32 [K] (-1 outside), "path" int32 [K], "theta", "threshold" [K],
            "sought" [K, D] or [K, H], what verification compares with; "q_weights", "p_weights"
            [K, bottleneck], "q_bias", "p_bias" [K]: the refinement's columns of q and p (of some other
            concept where they are not used).
        """
        given = tf.nn.l2_normalize(word_vectors, -1)
        return self.parameters(given, self._find(given))

    def parameters(self, given: tf.Tensor, found: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """What `resolve` returns, of unit vectors [K, D] and what `search` has found of them."""
        best, known, neighbour = found
        vector = tf.where(known[:, None], self._word(best), given)

        def look_up(column: tf.Variable, outside) -> tf.Tensor:
            return tf.where(known, tf.gather(column, best), outside)

        column = look_up(self.column, -1)
        return {
            "vector": vector,
            "sought": self._sought(vector, column),
            "entry": tf.where(known, best, -1),
            "path": look_up(self.path, mixing.COARSE),
            "theta": look_up(self.theta, self.outside_theta),
            "threshold": look_up(self.threshold, self.outside_threshold),
            **self._columns("q", column),
            **self._columns("p", look_up(self.neighbour, neighbour)),
        }

    def _find(self, given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """`search`, but that the whole table is read only for a vector outside the vocabulary."""

        def among(entries: tf.Tensor) -> tf.Tensor:
            rows = _rows(self.words, entries)  # [K, C, D]
            return tf.einsum("kcd,kd->kc", rows, given) * tf.gather(self.stretch, entries)

        best, known, certain = recognise(given, self.leading, among)
        found = best, known, tf.fill(tf.shape(best), -1)
        return tf.cond(tf.reduce_all(known & certain), lambda: found, lambda: self.search(given))

    def search(self, given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Of unit vectors [K, D]: the nearest entry int32 [K], whether it is that entry bool [K], and p's
        column int32 [K] if it is not."""
        cosines = self._cosines(given) * self.stretch
        best = tf.argmax(cosines, axis=1, output_type=tf.int32)
        return best, tf.reduce_max(cosines, axis=1) > SAME_WORD, self._outside_neighbour(cosines, best)

    def resolve_entries(self, entries: tf.Tensor) -> dict[str, tf.Tensor]:
        """What `resolve` returns, of the vocabulary's entries int32 [K]: no search, a few rows are read."""
        vector, column = self._word(entries), tf.gather(self.column, entries)
        return {
            "vector": vector,
            "sought": self._sought(vector, column),
            "entry": entries,
            **{name: tf.gather(getattr(self, name), entries) for name in ("path", "theta", "threshold")},
            **self._columns("q", column),
            **self._columns("p", tf.gather(self.neighbour, entries)),
        }

    def as_untrained(self, parameters: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The parameters of image-level concepts as if they were words that were never trained."""
        count = tf.shape(parameters["path"])
        sought = self._sought(parameters["vector"], tf.fill(count, -1))
        path, theta = tf.fill(count, mixing.COARSE), tf.fill(count, self.outside_theta)
        return parameters | {"path": path, "theta": theta, "sought": sought}

    def _word(self, entries: tf.Tensor) -> tf.Tensor:
        """The unit vectors [K, D] of entries int32 [K]."""
        return _rows(self.words, entries) * tf.gather(self.stretch, entries)[:, None]

    def _sought(self, vector: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        """What verification compares with, of unit vectors [K, D] and columns int32 [K], -1 of no concept."""
        if self.own is None:
            return vector
        own = tf.where(column[:, None] < 0, 0.0, _rows(self.own, tf.maximum(column, 0)))
        return tf.matmul(vector, self.sought_matrix) + self.sought_bias + own

    def _columns(self, name: str, chosen: tf.Tensor) -> dict[str, tf.Tensor]:
        """The second layer's weights and bias for columns int32 [K]; -1 gives those of some other concept."""
        chosen = tf.maximum(chosen, 0)
        weights = _rows(self.column_weights, chosen)
        return {f"{name}_weights": weights, f"{name}_bias": tf.gather(self.column_bias, chosen)}

    def _cosines(self, given: tf.Tensor) -> tf.Tensor:
        """Of unit vectors [K, D] with the table's rows: [K, V']. One in half precision is read in pieces."""
        if self.words.dtype == tf.float32:
            return tf.matmul(given, self.words, transpose_b=True)
        count = self.words.shape[0]
        piece = min(_ROWS, count)

        def products(start: tf.Tensor) -> tf.Tensor:
            rows = tf.cast(self.words[start : start + piece], tf.float32)
            return tf.matmul(rows, given, transpose_b=True)  # [piece, K]

        # The last piece begins early enough to be as long as the others.
        starts = [*range(0, count - piece, piece), count - piece]
        found = tf.map_fn(
            products, tf.constant(starts), fn_output_signature=tf.float32, parallel_iterations=1
        )
        overlap = len(starts) * piece - count
        early = tf.reshape(found[:-1], [count - piece + overlap, tf.shape(given)[0]])
        return tf.transpose(tf.concat([early, found[-1, overlap:]], axis=0))

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
        image = tf.convert_to_tensor(image)
        return self._encode_bytes(image) if image.dtype == tf.uint8 else self._encode_floats(image)

    def _encode(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        squares = {str(s): geometry.resize_image(image, s) for s in sorted({*self.sizes, self.size})}
        return self.encode_squares(squares)

    def encode_squares(self, squares: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`encode` of photos that are resized already (TFLite cannot resize with antialiasing).

        Args:
            squares: str(size) -> float32 RGB [B, size, size, 3] for the attention sizes and the mask size.

        Returns:
            "embedding_1", "embedding_2" [B, h_i, w_i, D], L2-normalised; "hidden_1", "hidden_2"
            [B, h_i, w_i, bottleneck], the refinement's hidden maps; "c5" [B, h_1, w_1, C]; and
            "segmentation_..." the segmentation encoder's maps.
        """
        features, first = {}, None
        for number, size in enumerate(self.sizes, start=1):
            if size in self.sizes[: number - 1]:  # a single attention, given twice
                for name in ("embedding", "hidden"):
                    features[f"{name}_{number}"] = features[f"{name}_1"]
                continue
            maps = self.backbone(squares[str(size)], training=False)
            e = tf.nn.l2_normalize(self.head(maps["c5"], training=False), -1)
            features[f"embedding_{number}"] = e
            features[f"hidden_{number}"] = tf.nn.relu(tf.tensordot(e, self.fold_matrix, 1) + self.fold_bias)
            first = first or maps
        features["c5"] = first["c5"]
        maps = segmentation.encode(self.segmentation_encoder, squares[str(self.size)], first, training=False)
        return features | {_MAP + name: value for name, value in maps.items()}

    def attention(
        self, features: Mapping[str, tf.Tensor], parameters: Mapping[str, tf.Tensor], rows: tf.Tensor
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
        images, places = tf.unique(rows)
        for number in range(1, len(self.sizes) + 1):
            hidden = asked(features[f"hidden_{number}"], images)
            q = select(hidden, parameters["q_weights"], places) + parameters["q_bias"][:, None, None]
            p = select(hidden, parameters["p_weights"], places) + parameters["p_bias"][:, None, None]
            embedding = asked(features[f"embedding_{number}"], images)
            coarse.append(select(embedding, parameters["vector"], places))
            path, theta = parameters["path"], parameters["theta"]
            maps.append(mixing.mix(path, theta, tf.sigmoid(q), tf.sigmoid(p), coarse[-1]))
        return maps, coarse

    def decode(
        self, features: Mapping[str, tf.Tensor], parameters: Mapping[str, tf.Tensor], rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Masks and scores of K > 0 concepts, each in its own image. Memory grows with K: callers chunk.

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
        inputs = {k.removeprefix(_MAP): v for k, v in features.items() if k.startswith(_MAP)}
        if self.strides:
            # Only ever added to: one photo's maps meet those of many concepts as they are.
            inputs = shared(inputs, rows)
            stretched = [geometry.min_max(m, (1, 2)) for m in maps]
            strides = sorted({*self.strides.values()})
            levels = dict(zip(strides, geometry.level_maps(stretched, self.size, strides), strict=True))
            inputs |= {name: levels[stride] for name, stride in self.strides.items()}
        else:
            inputs = {name: tf.gather(value, rows) for name, value in inputs.items()}
            inputs["attention"] = attention.stack_scales(maps, self.size)
        probabilities = tf.sigmoid(self.segmentation_decoder(inputs, training=False))[..., 0]
        raw = self._verify(features, parameters, maps[0], rows)
        return probabilities, self.calibrate(raw, parameters), raw

    def raw_scores(
        self, features: Mapping[str, tf.Tensor], parameters: Mapping[str, tf.Tensor], rows: tf.Tensor
    ) -> tf.Tensor:
        """Verification's cosines (supplement 5) as `decode` has them, without masks: float32 [K]."""
        maps, _ = self.attention(features, parameters, rows)
        return self._verify(features, parameters, maps[0], rows)

    def _verify(
        self,
        features: dict[str, tf.Tensor],
        parameters: dict[str, tf.Tensor],
        maps: tf.Tensor,
        rows: tf.Tensor,
    ) -> tf.Tensor:
        images, places = tf.unique(rows)
        c5 = asked(features["c5"], images)
        return verification.raw_score(self.verifier, c5, maps, parameters["sought"], places)

    def calibrate(self, raw: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
        """Scores float32 [K] in [0, 1] of `raw_scores`; 0.5 is the concept's threshold."""
        return verification.calibrate(raw, parameters["threshold"], self.slope)


def _spec(shape: list, dtype=tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype)


def _traced_once(step, *signature):
    return tf.function(step, input_signature=signature)


def _rows(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """Rows [K, F] of a table, float32: no more of it is read."""
    return tf.cast(tf.gather(table, ids), tf.float32)
