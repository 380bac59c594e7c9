"""`paper()` at its full size: 18,000 concepts, 4,096 dimensions. Parameters part by part, a forward pass."""

import math

import keras
import numpy as np
import pytest
import scipy.sparse

from cmask_tf import config
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.models.embedding import build_head
from cmask_tf.models.mixing import ConceptTable
from cmask_tf.models.neighbour_table import build_mixing
from cmask_tf.models.refinement import build_refinement
from cmask_tf.models.segmentation import build_segmentation
from cmask_tf.vocabulary.artefact import Vocabulary

V, D, MASKS, BOXES = 18_000, 4_096, 80, 670


def trainable(model):
    return sum(math.prod(v.shape) for v in model.trainable_variables)


@pytest.fixture(scope="module")
def parts():
    paper = config.paper()
    keras.utils.set_random_seed(0)
    encoder, decoder = build_segmentation(paper.segmentation)
    return {
        "backbone": build_backbone(paper.backbone),
        "embedding": build_head(2048, paper.embedding, D),
        "refinement": build_refinement(V, paper.refinement.bottleneck),
        "segmentation_encoder": encoder,
        "segmentation_decoder": decoder,
    }


def random_vocabulary():
    names = [f"concept {i}" for i in range(V)]
    counts = np.arange(V, 0, -1)
    return Vocabulary(
        names=names,
        counts=counts,
        idf=-np.log(counts / (2 * V)).astype(np.float32),
        kinds=["unknown"] * V,
        aliases=[[]] * V,
        vectors=np.random.default_rng(0).standard_normal((V, D), np.float32),
        eigenvalues=np.ones(D, np.float32),
        cooccurrence=scipy.sparse.csr_matrix((V, V), dtype=np.int32),
        meta={"variant": "ppmi", "dimension": D, "documents": 2 * V},
    )


def test_parameters_part_by_part(parts):
    # ResNet-50's 23,587,712 without its classifier, of which 53,120 are moving statistics.
    assert trainable(parts["backbone"]) == 23_587_712 - 53_120
    assert trainable(parts["embedding"]) == 2048 * 4096 + 2 * 4096 * 4096 + 3 * 2 * 4096
    assert trainable(parts["refinement"]) == 18_000 * 2_000 + 2_000 + 2_000 * 18_000 + 18_000
    assert trainable(parts["segmentation_encoder"]) == 0
    # tf-slim's network to Mixed_5c has 10,153,336 with three channels; its first layer is a separable
    # convolution, 7 * 7 * 8 + 8 * 64 for each channel more.
    inception = 10_153_336 + 2 * (7 * 7 * 8 + 8 * 64)
    low_level = 7 * 7 * 5 * 64 + 2 * 64
    units = sum(9 * (width * 32 + 32 * 32) + 2 * 2 * 32 for width in (66, 98, 130))
    ends = (1024 * 2 + 2) + (162 + 1)
    assert trainable(parts["segmentation_decoder"]) == inception + low_level + units + ends


def test_shapes_part_by_part(parts):
    assert parts["embedding"].output.shape == (None, None, None, D)
    assert parts["refinement"].output.shape == (None, None, None, V)
    decoder = parts["segmentation_decoder"]
    assert {k: v.shape[1:] for k, v in decoder.input.items()} == {
        "image": (224, 224, 3), "attention": (224, 224, 2),
    }  # fmt: skip
    assert decoder.get_layer("high_level").output.shape[-1] == 1024
    assert decoder.get_layer("high_level_end").output.shape == (None, 14, 14, 2)
    assert decoder.get_layer("low_level").output.shape == (None, 224, 224, 64)
    assert decoder.output.shape == (None, 224, 224, 1)


def test_one_photo_two_concepts(parts):
    vocabulary = random_vocabulary()
    levels = ["mask"] * MASKS + ["box"] * BOXES + ["image"] * (V - MASKS - BOXES)
    concepts = [{"name": n, "level": level} for n, level in zip(vocabulary.names, levels, strict=True)]
    mixing = build_mixing(vocabulary, concepts, "pmi")
    assert len(mixing["p"]) == V - MASKS - BOXES
    model = ConceptMaskModel(config.paper(), parts, ConceptTable.build(vocabulary, concepts, mixing))
    assert model.words.shape == (V, D)
    assert model.fold_matrix.shape == (D, 2000)
    assert model.column_weights.shape == (V, 2000)

    photo = np.random.default_rng(1).integers(0, 256, (1, 240, 320, 3), np.uint8)
    features = model.encode(photo)
    assert {k: v.shape[1:] for k, v in features.items()} == {
        "embedding_1": (10, 10, D),
        "hidden_1": (10, 10, 2000),
        "embedding_2": (22, 22, D),
        "hidden_2": (22, 22, 2000),
        "c5": (10, 10, 2048),
        "segmentation_image": (224, 224, 3),
    }
    parameters = model.resolve(vocabulary.vectors[[5, 17_999]])
    np.testing.assert_array_equal(parameters["entry"], [5, 17_999])
    probabilities, scores, raw = model.decode(features, parameters, np.zeros(2, np.int32))
    assert probabilities.shape == (2, 224, 224)
    for values in (probabilities, scores, raw):
        assert np.isfinite(values).all()
    assert np.std(probabilities) > 0
