"""TensorFlow Serving's REST: status, metadata and `:predict`, beside Prometheus' page."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

from google.protobuf.json_format import MessageToDict
from grpc import StatusCode
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2

from cmask_tf.serving import grpc_api, rest_json
from cmask_tf.serving.metrics import PATH
from cmask_tf.serving.predictor import DEFAULT_SIGNATURE, Predictor, Target
from cmask_tf.serving.servable import Servable, Signature
from cmask_tf.serving.status import Refused, invalid

# As in http_rest_api_util.cc, on the path as it came: a name with %2F in it is a name.
_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_STATUS = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:/(?P<metadata>metadata))?", re.IGNORECASE | re.ASCII
)

_METHODS = {"POST": "Predict", "GET": "GetModelStatus"}  # as gRPC calls them; metadata counts as status


def application(predictor: Predictor) -> Starlette:
    """The REST side as an ASGI application."""
    api = _Api(predictor)
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    return Starlette(routes=[Route(PATH, api.metrics), Route("/{path:path}", api.any, methods=methods)])


class _TooLong(Refused):
    """A body beyond the limit; HTTP has a status for that."""

    http_status = 413


class _Api:
    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        # One thread: a large JSON text shall not stop the loop, nor several fill the memory at once.
        self._json = ThreadPoolExecutor(1, "json")

    async def metrics(self, request: Request) -> Response:
        return Response(self._predictor.metrics.page(), media_type="text/plain; version=0.0.4")

    async def any(self, request: Request) -> Response:
        peer = f"{request.client.host}:{request.client.port}" if request.client else ""
        path = request.scope["raw_path"].decode("latin-1")
        limit = self._predictor.options.rest_api_timeout_in_ms / 1000
        try:
            with self._predictor.recorded("rest", _METHODS.get(request.method, "other"), peer) as record:
                record["path"] = path[:80]
                try:
                    async with asyncio.timeout(limit):
                        return await self._answer(request, path, record)
                except TimeoutError:
                    raise Refused(StatusCode.DEADLINE_EXCEEDED, f"not done in {limit:g} seconds") from None
        except Refused as refused:
            body = json.dumps({"error": refused.message}).encode()
            return Response(body, refused.http_status, media_type="application/json")

    async def _answer(self, request: Request, path: str, record: dict) -> Response:
        if not path.lower().startswith("/v1/"):
            raise Refused(StatusCode.NOT_FOUND, f"Not found: {path[:80]}")
        pattern = {"POST": _PREDICT, "GET": _STATUS}.get(request.method)
        match = pattern.fullmatch(path) if pattern else None
        if match is None:
            raise invalid(f"Malformed request: {request.method} {path[:80]}")
        target = _target(match)
        if request.method == "POST":
            body = await self._predict(request, target, match["method"].lower(), record)
        elif match["metadata"]:
            body = self._metadata(target, record)
        else:
            body = json.dumps(_to_dict(grpc_api.status(self._predictor, target, record)), indent=1).encode()
        return Response(body, media_type="application/json")

    def _metadata(self, target: Target, record: dict) -> bytes:
        wanted = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        wanted.model_spec.name = target.name
        if target.version is not None:
            wanted.model_spec.version.value = target.version
        wanted.model_spec.version_label = target.label or ""
        found = _to_dict(grpc_api.metadata(self._predictor, wanted, record))
        found["metadata"]["signature_def"].pop("@type")  # TensorFlow Serving leaves it out
        return json.dumps(found, indent=1).encode()

    async def _predict(self, request: Request, target: Target, method: str, record: dict) -> bytes:
        if method != "predict":
            raise Refused(StatusCode.UNIMPLEMENTED, f"{method} is not served; predict is")
        loop = asyncio.get_running_loop()
        body = await _body(request, self._predictor.options.max_request_bytes)
        document = await loop.run_in_executor(self._json, rest_json.parse, body)
        del body
        name = document.get("signature_name") or DEFAULT_SIGNATURE

        def find(servable: Servable) -> Signature:
            if name not in servable.signatures:
                raise invalid(f'Serving signature name: "{name[:80]}" not found in signature def')
            return servable.signatures[name]

        work = self._predictor.predict(
            target, find, lambda found: rest_json.read(document, found), [], record
        )
        _, outputs = await _while_connected(request, work)
        return await loop.run_in_executor(self._json, rest_json.write, outputs, "instances" in document)


def _target(match: re.Match) -> Target:
    name, label = _decoded(match["name"], "model name"), _decoded(match["label"], "model version label")
    if not name:
        raise invalid("Missing model name in request.")
    digits = match["version"]
    if digits and (len(digits) > 19 or int(digits) >= 1 << 63):
        raise invalid(f"Failed to convert version: {digits[:80]} to numeric.")
    return Target(name, int(digits) if digits else None, label)


def _decoded(text: str | None, what: str) -> str | None:
    if text is None:
        return None
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid(f"Failed to decode {what}:{text[:80]}") from None


def _to_dict(message) -> dict:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


async def _body(request: Request, most: int) -> bytes:
    """The whole body, refused as soon as it is known to be too long."""
    said = request.headers.get("content-length", "0")
    too_long = _TooLong(StatusCode.RESOURCE_EXHAUSTED, f"a body of more than {most} bytes")
    if said.isdigit() and int(said) > most:
        raise too_long
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_long
    except ClientDisconnect:
        raise Refused(StatusCode.CANCELLED, "the client went away") from None
    return bytes(body)


async def _while_connected(request: Request, work):
    """The result of `work`, which is cancelled when the client goes away."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refused(StatusCode.CANCELLED, "the client went away")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
