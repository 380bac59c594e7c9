"""A client of the signature `segment_encoded` over gRPC: of TensorFlow Serving or of our own server.

with SegmentClient("127.0.0.1:8500", "default") as client:
    for answer in client.segment("a.jpg", ["dress", "red hat"]):
        print(answer.present, answer.score, answer.mask().shape)

It needs grpcio, NumPy and Pillow, and no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
from PIL import Image, UnidentifiedImageError

from cmask_tf.errors import UserError
from cmask_tf.imageio import read_image
from cmask_tf.serving.client_messages import PREDICT, messages, read, set_strings

SIGNATURE = "segment_encoded"
MESSAGE_BYTES = 256 << 20  # gRPC's own limit is 4 MB, less than the masks of a large photo
ATTEMPTS = 5  # gRPC allows no more
# A full queue, a restart, a lost connection: all UNAVAILABLE, and to ask again does no harm. gRPC itself
# waits before each further attempt, twice as long each time, give or take a fifth at random.
_RETRY = {
    "maxAttempts": ATTEMPTS,
    "initialBackoff": "0.3s",
    "maxBackoff": "5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_ORIENTATION = 0x0112
# These say something of one request; every other code says something of the server.
_OF_THE_REQUEST = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.FAILED_PRECONDITION,  # TensorFlow Serving: a batch of rows that could not be joined
    grpc.StatusCode.INTERNAL,
)


class ServerError(UserError):
    """The server cannot be used: it is away, another one, or without the model or its signature."""


class Refused(UserError):
    """The server did not answer this request; it may answer others."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the server found of one concept in one photo.

    Attributes:
        png: the mask, an 8-bit PNG of the photo's size (0-255: the probability); empty when there is none.
        score: 0 to 1, that the concept is in the photo.
        present: whether it counts as found.
        known: whether the name is in the model's vocabulary.
    """

    png: bytes
    score: float
    present: bool
    known: bool

    def mask(self) -> np.ndarray:
        """The probabilities, uint8 [H, W], 0 to 255.

        Raises:
            Refused: there is no mask, or it is no PNG.
        """
        try:
            with Image.open(io.BytesIO(self.png), formats=["PNG"]) as image:
                return np.array(image.convert("L"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise Refused(f"expected a PNG from the server, not {self.png[:12]!r}") from None


class SegmentClient:
    """A connection to one model of one server; any number of threads may use it.

    Args:
        target: HOST:PORT of the server's gRPC port, or another of gRPC's names.
        model: the name that it serves the model under.
        deadline: seconds that one call may take, retries and all.
        credentials: `tls(...)`; None for a connection without TLS.
        max_message_bytes: the largest request and the largest answer.

    Raises:
        UserError: the target is a URL, or no text.
    """

    def __init__(
        self,
        target: str,
        model: str = "default",
        *,
        deadline: float = 60.0,
        credentials: grpc.ChannelCredentials | None = None,
        max_message_bytes: int = MESSAGE_BYTES,
    ):
        if target.startswith(("http:", "https:")):
            raise UserError(f"{target}: expected HOST:PORT of the gRPC port, not a URL")
        if not all(text.isprintable() for text in (target, model)):
            raise UserError(f"server {target!r}, model {model!r}: expected printable names")
        self._target, self._model, self._deadline = target, model, deadline
        # Of a name with several addresses all are used in turn.
        service = {
            "loadBalancingConfig": [{"round_robin": {}}],
            "methodConfig": [{"name": [{}], "retryPolicy": _RETRY}],
        }
        options = [
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            # Without it a request of more than 256 KB, any photo, is never sent again.
            ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
            ("grpc.initial_reconnect_backoff_ms", 300),
            ("grpc.service_config", json.dumps(service)),
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
        self._predict = self._channel.unary_unary(
            PREDICT,
            request_serializer=messages().PredictRequest.SerializeToString,
            response_deserializer=messages().PredictResponse.FromString,
        )

    def __enter__(self) -> SegmentClient:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; calls under way are cancelled."""
        self._channel.close()

    def segment(self, photo: str | Path, concepts: Sequence[str]) -> list[Answer]:
        """One photo, as a person sees it (EXIF orientation applied), and one answer a concept.

        Raises:
            UserError: the photo cannot be read, or `segment_encoded`'s errors.
        """
        return self.segment_encoded([encode_photo(photo)[0]], [concepts])[0]

    def segment_encoded(
        self, images: Sequence[bytes], concepts: Sequence[Sequence[str]]
    ) -> list[list[Answer]]:
        """One call of the signature (`docs/export.md`): JPEG or PNG files of any sizes.

        The stored pixels count; `encode_photo` turns a photo first. A file that cannot be decoded, or a name
        that is not in the vocabulary, has an empty PNG and score 0, and does not disturb the others.

        Args:
            images: [B] whole files.
            concepts: of each image its names, as many as each has.

        Returns:
            Of each image one answer a name.

        Raises:
            Refused: this request is too large, too slow, or the server has no room for it.
            ServerError: the server cannot be used.
            ValueError: not one list of names an image, or no name at all.
        """
        count = max(map(len, concepts), default=0)
        if len(images) != len(concepts) or not count:
            raise ValueError("expected one list of concepts an image, and at least one concept")
        request = messages().PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = SIGNATURE
        names = [[*row, *itertools.repeat("", count - len(row))] for row in concepts]
        set_strings(request.inputs["image_bytes"], images, [len(images)])
        try:
            flat = [name.encode("utf-8") for row in names for name in row]
        except UnicodeEncodeError as error:
            raise UserError(f"concept {error.object!r}: expected Unicode text") from None
        set_strings(request.inputs["concepts"], flat, [len(images), count])
        try:
            outputs = self._predict(request, timeout=self._deadline).outputs
        except grpc.RpcError as error:
            raise self._told(error) from None
        answers = self._answers(outputs, len(images), count)
        return [row[: len(asked)] for row, asked in zip(answers, concepts, strict=True)]

    def _answers(self, outputs, batch: int, count: int) -> list[list[Answer]]:
        columns = []
        for name in ("mask_png_bytes", "score", "present", "known"):
            if name not in outputs:
                raise ServerError(f"{self._where()}: the answer has no output {name!r}; another signature?")
            try:
                column = read(outputs[name])
            except ValueError as error:
                raise ServerError(f"{self._where()}: output {name!r}: {error}") from None
            # TensorFlow Serving fills a batch's shorter rows up and does not cut them again.
            if column.ndim != 2 or len(column) != batch or column.shape[1] < count:
                raise ServerError(f"{self._where()}: output {name!r} is of shape {list(column.shape)}")
            columns.append(column[:, :count].tolist())
        return [[Answer(*cell) for cell in zip(*row, strict=True)] for row in zip(*columns, strict=True)]

    def _where(self) -> str:
        return f"{self._target}, model {self._model!r}"

    def _told(self, error: grpc.RpcError) -> UserError:
        """The error of a call as one line that says what to do."""
        code, details = error.code(), " ".join((error.details() or "").split())[:300]
        if code == grpc.StatusCode.UNIMPLEMENTED or "parsing HTTP/2" in details:
            return ServerError(f"{self._target}: not a TensorFlow Serving gRPC port ({details})")
        if code == grpc.StatusCode.UNAVAILABLE:
            return ServerError(f"{self._target}: no server answers there, or it has no room ({details})")
        if code == grpc.StatusCode.NOT_FOUND:
            return ServerError(f"{self._target}: serves no model {self._model!r} ({details})")
        if "signature" in details.lower():
            return ServerError(f"{self._where()}: no signature {SIGNATURE!r} ({details})")
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return Refused(f"{self._where()}: no answer within {self._deadline:g} seconds")
        line = f"{self._where()}: {code.name}: {details}"
        return Refused(line) if code in _OF_THE_REQUEST else ServerError(line)


def tls(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials:
    """Credentials for a server with TLS.

    Args:
        ca: PEM file of the authority that signed the server's certificate; gRPC's own list by default.
        certificate: PEM file of the client's certificate, where the server asks for one.
        key: PEM file of the client's private key.

    Raises:
        UserError: a file that cannot be read, or a certificate without a key.
    """
    if (certificate is None) != (key is None):
        raise UserError("a client certificate and its key go together")
    try:
        authority, private, chain = (path and Path(path).read_bytes() for path in (ca, key, certificate))
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    return grpc.ssl_channel_credentials(authority, private, chain)


def encode_photo(path: str | Path) -> tuple[bytes, np.ndarray]:
    """A photo as the server wants it: a JPEG or PNG whose stored pixels are what a person sees.

    A JPEG or 8-bit PNG that stands upright is sent as it is. Another JPEG, turned by its EXIF orientation
    or in CMYK, becomes a JPEG of quality 98: about half a level from its pixels in the mean, and less than
    half of a PNG's bytes. All else, transparent, of another mode or format, becomes a PNG of its pixels.

    Returns:
        The bytes to send, and the pixels, uint8 RGB [H, W, 3].

    Raises:
        UserError: no such photo, or it cannot be decoded.
    """
    pixels = read_image(path)
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            lossy, plain = image.format in ("JPEG", "MPO"), _is_plain(image, data)
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: {error}") from None
    if plain:
        return data, pixels
    buffer, upright = io.BytesIO(), Image.fromarray(pixels)
    if lossy:
        upright.save(buffer, "JPEG", quality=98, subsampling=0)
    else:
        upright.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), pixels


def _is_plain(image: Image.Image, data: bytes) -> bool:
    if image.mode not in ("RGB", "L") or "transparency" in image.info:
        return False
    if image.getexif().get(_ORIENTATION, 1) != 1:
        return False
    # MPO is a phone's JPEG with a second picture behind it. Byte 24 of a PNG is the depth of its samples.
    return image.format in ("JPEG", "MPO") or (image.format == "PNG" and data[24] == 8)
