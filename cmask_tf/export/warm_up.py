"""`assets.extra/tf_serving_warmup_requests`: what TensorFlow Serving runs before a version takes requests.

The first call of each signature plans the graph and fills caches, which takes many times as long as a later
one. Shapes are dynamic: other batch sizes and numbers of concepts need no plan of their own, but more memory,
which the larger requests reserve.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib import cbook

from cmask_tf.errors import UserError
from cmask_tf.export.verify import PHOTO
from cmask_tf.imageio import read_image
from cmask_tf.vocabulary.artefact import Vocabulary

FILE = "tf_serving_warmup_requests"
BATCHES = (1, 4)  # images of a request
CONCEPTS = (1, 8)  # of an image


def check() -> None:
    """Looks for the package that knows the file's format, before any work.

    Raises:
        UserError: it is not installed.
    """
    try:
        import tensorflow_serving.apis.prediction_log_pb2  # noqa: F401
    except ImportError:
        raise UserError("no package tensorflow-serving-api: pip install 'cmask-tf[serve]'") from None


def write(directory: Path, vocabulary: Vocabulary) -> None:
    """Writes one PredictionLog for each signature, batch size and number of concepts.

    Args:
        directory: the SavedModel.
        vocabulary: words and vectors to ask for.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    file = directory / "assets.extra" / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests(vocabulary):
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def requests(vocabulary: Vocabulary) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(signature, inputs by name) of every request, a photo and the vocabulary's first words."""
    photo = Path(cbook.get_sample_data(PHOTO, asfileobj=False))
    image = read_image(photo)[::2, ::2]
    chosen = np.arange(max(CONCEPTS)) % len(vocabulary)
    vectors = vocabulary.vectors[chosen]
    words = np.array([vocabulary.names[i].encode() for i in chosen], object)
    for batch in BATCHES:
        images = np.repeat(image[np.newaxis], batch, 0)
        vector = np.repeat(vectors[:1], batch, 0)
        yield "serving_default", {"image": images, "word_vector": vector}
        yield "attention", {"image": images, "word_vector": vector}
    for batch, count in product(BATCHES, CONCEPTS):
        images = np.repeat(image[np.newaxis], batch, 0)
        many = np.repeat(vectors[np.newaxis, :count], batch, 0)
        yield "segment_concepts", {"image": images, "word_vectors": many}
        names = np.repeat(words[np.newaxis, :count], batch, 0)
        yield (
            "segment_encoded",
            {"image_bytes": np.array([photo.read_bytes()] * batch, object), "concepts": names},
        )
