"""A PredictionService without a model: a colour's name is a concept, its channel the probability."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from PIL import Image, UnidentifiedImageError

from cmask_tf.serving.client_messages import PREDICT, messages, read, set_strings

CHANNELS = {"red": 0, "green": 1, "blue": 2}


class FakeServing(grpc.GenericRpcHandler):
    """A gRPC server of the model "default" on a free port of 127.0.0.1.

    Attributes:
        fail: (code, details) of the next calls, one a call.
        images: the bytes of every image that came.
        calls: calls so far, those that failed too.
        busiest: the most calls under way at one time.
        delay: seconds that a call takes.
    """

    def __init__(self, credentials=None, delay=0.0, workers=8):
        self.fail, self.images, self.calls, self.busiest, self.delay = [], [], 0, 0, delay
        self._busy, self._lock = 0, threading.Lock()
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.server = grpc.server(ThreadPoolExecutor(workers), options=options)
        self.server.add_generic_rpc_handlers([self])
        if credentials is None:
            port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.target = f"127.0.0.1:{port}"
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(None)

    def service(self, details):
        if details.method != PREDICT:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self.predict,
            request_deserializer=messages().PredictRequest.FromString,
            response_serializer=messages().PredictResponse.SerializeToString,
        )

    def predict(self, request, context):
        with self._lock:
            self.calls += 1
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            failure = self.fail.pop(0) if self.fail else None
        try:
            if failure:
                context.abort(*failure)
            if request.model_spec.name != "default":
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(other)")
            time.sleep(self.delay)
            return self.answer(request)
        finally:
            with self._lock:
                self._busy -= 1

    def answer(self, request):
        images = read(request.inputs["image_bytes"])
        concepts = read(request.inputs["concepts"])
        cells = [[_cell(image, name) for name in row] for image, row in zip(images, concepts, strict=True)]
        self.images += images.tolist()
        flat = [cell for row in cells for cell in row]
        response = messages().PredictResponse()
        set_strings(response.outputs["mask_png_bytes"], [cell[0] for cell in flat], concepts.shape)
        for name, dtype, index in (("score", 1, 1), ("present", 10, 2), ("known", 10, 3)):
            tensor = response.outputs[name]
            tensor.dtype = dtype
            for size in concepts.shape:
                tensor.tensor_shape.dim.add(size=size)
            (tensor.float_val if dtype == 1 else tensor.bool_val).extend(cell[index] for cell in flat)
        return response


def _cell(image: bytes, name: bytes) -> tuple[bytes, float, bool, bool]:
    known = name.decode() in CHANNELS
    try:
        pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    except UnidentifiedImageError:
        return b"", 0.0, False, known
    if not known:
        return b"", 0.0, False, False
    mask = pixels[..., CHANNELS[name.decode()]]
    score = float((mask >= 128).mean())
    return png(mask), score, score >= 0.5, True


def png(pixels: np.ndarray) -> bytes:
    """Pixels as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
