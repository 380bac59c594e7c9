"""A toy SavedModel with the project's signatures, a server of it in a thread, and two small clients."""

import asyncio
import base64
import contextlib
import io
import shutil
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from cmask_tf.serving.options import ServerOptions
from cmask_tf.serving.server import Server

CHANNELS = ("red", "green", "blue")
D = 3  # a word vector's dimension; it weighs the three channels


class Toy(tf.Module):
    """`red`, `green` and `blue` are known; the mask is that channel."""

    def __init__(self):
        super().__init__()
        self.scale = tf.Variable(1 / 255)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, "image"),
            tf.TensorSpec([None, D], tf.float32, "word_vector"),
        ]
    )
    def default(self, image, word_vector):
        mask = tf.einsum("bhwc,bc->bhw", tf.cast(image, tf.float32) * self.scale, word_vector)
        score = tf.reduce_max(mask, [1, 2])
        return {"mask": mask, "score": score, "present": score > 0.5}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, "image"),
            tf.TensorSpec([None, None, D], tf.float32, "word_vectors"),
        ]
    )
    def concepts(self, image, word_vectors):
        mask = tf.einsum("bhwc,bkc->bkhw", tf.cast(image, tf.float32) * self.scale, word_vectors)
        score = tf.reduce_max(mask, [2, 3])
        return {"mask": mask, "score": score, "present": score > 0.5}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([None, None], tf.string, "concepts"),
        ]
    )
    def encoded(self, image_bytes, concepts):
        kinds = {"mask_png_bytes": tf.string, "score": tf.float32, "present": tf.bool, "known": tf.bool}
        return tf.map_fn(self._row, (image_bytes, concepts), fn_output_signature=kinds)

    def _row(self, row):
        content, names = row
        start = tf.strings.substr(content, 0, 3)
        empty = tf.zeros([1, 1, 3], tf.uint8)
        ok = (start == b"\xff\xd8\xff") | (start == b"\x89PN")
        image = tf.cond(ok, lambda: tf.io.decode_image(content, 3, expand_animations=False), lambda: empty)
        image = tf.ensure_shape(image, [None, None, 3])
        channel = tf.argmax(names[:, None] == tf.constant(CHANNELS)[None], 1)
        known = tf.reduce_any(names[:, None] == tf.constant(CHANNELS)[None], 1)
        masks = tf.transpose(tf.gather(image, channel, axis=2), [2, 0, 1])[..., None]
        pngs = tf.map_fn(tf.io.encode_png, masks, fn_output_signature=tf.string)
        score = tf.cast(tf.reduce_max(masks, [1, 2, 3]), tf.float32) * self.scale
        good = known & ok
        return {
            "mask_png_bytes": tf.where(good, pngs, ""),
            "score": tf.where(good, score, 0.0),
            "present": good & (score > 0.5),
            "known": known,
        }


def save_toy(directory, offset=0.0):
    """Writes a version; `offset` is added to nothing but the scale, so that versions differ."""
    toy = Toy()
    toy.scale.assign((1 + offset) / 255)
    tf.saved_model.save(
        toy,
        str(directory),
        {"serving_default": toy.default, "segment_concepts": toy.concepts, "segment_encoded": toy.encoded},
    )


def publish(source, base, version):
    """Puts a copy of a version into place by rename, as the export does."""
    partial = base / f".{version}.partial"
    shutil.copytree(source, partial)
    partial.rename(base / str(version))


def png(height=8, width=6, colour=(255, 0, 128), **how):
    """A PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG", **how)
    return out.getvalue()


def b64(content):
    """Bytes as TensorFlow Serving's JSON has them."""
    return {"b64": base64.b64encode(content).decode()}


def mask_of(content):
    """uint8 [H, W] of a mask's PNG."""
    return np.asarray(Image.open(io.BytesIO(content)))


@contextlib.contextmanager
def serving(base, **options):
    """A running server in a thread of its own; drained at the end."""
    settings = {"port": 0, "rest_api_port": 0, "model_name": "toy", "grace_seconds": 5.0}
    chosen = ServerOptions(model_base_path=base, **(settings | options))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(work, timeout=60):
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout)

    async def make():
        server = Server(chosen)
        await server.start()
        return server

    server = call(make())
    server.call = call
    server.stopped = False
    try:
        yield server
    finally:
        if not server.stopped:
            call(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def held(server):
    """Requests for the concept "slow" run until the event that this gives is set."""
    servable = server.versions._current.servable
    gate, run = threading.Event(), servable.run

    def wait(signature, inputs):
        if "concepts" in inputs and b"slow" in inputs["concepts"].ravel().tolist():
            assert gate.wait(60)
        return run(signature, inputs)

    servable.run = wait
    try:
        yield gate
    finally:
        gate.set()
        servable.run = run


def stub(server, **how):
    """(channel, PredictionService's stub) of a server."""
    channel = grpc.insecure_channel(
        f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)], **how
    )
    return channel, prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(signature, name="toy", version=None, **inputs):
    """A PredictRequest of arrays or lists; lists of bytes become string tensors."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def encoded_request(images, concepts, **how):
    """A request of `segment_encoded`: a list of files, a list of lists of names."""
    return predict_request("segment_encoded", image_bytes=images, concepts=concepts, **how)


def arrays(response):
    """The outputs of a PredictResponse by name."""
    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def wait_until(holds, seconds=20.0):
    """Waits for a condition; a failure says that it never came."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


SLOW = encoded_request([png()], [[b"slow"]])
