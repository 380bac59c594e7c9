"""TensorFlow Serving's gRPC: Predict, GetModelMetadata, GetModelStatus, beside health and reflection.

Methods that are not registered here answer UNIMPLEMENTED, which is gRPC's own doing.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from cmask_tf.serving import tensors
from cmask_tf.serving.predictor import DEFAULT_SIGNATURE, Predictor, Target
from cmask_tf.serving.servable import Servable, Signature
from cmask_tf.serving.status import Refused, invalid
from cmask_tf.serving.versions import VersionStatus

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"

# For the services' descriptors, which reflection tells. Both modules were generated for an older
# protobuf: they register the descriptor and then fail at a line that sets an option on it.
for _module in ("prediction_service_pb2", "model_service_pb2"):
    with contextlib.suppress(AttributeError, TypeError):
        importlib.import_module(f"tensorflow_serving.apis.{_module}")


def add_services(server: grpc.aio.Server, predictor: Predictor) -> health.aio.HealthServicer:
    """Registers everything that is served; the health is NOT_SERVING until somebody says otherwise."""
    api = _Api(predictor)
    methods = {
        PREDICTION: {
            "Predict": (predict_pb2.PredictRequest, api.predict),
            "GetModelMetadata": (get_model_metadata_pb2.GetModelMetadataRequest, api.metadata),
        },
        MODEL: {"GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, api.status)},
    }
    for service, found in methods.items():
        handlers = {name: _handler(predictor, name, *how) for name, how in found.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = (PREDICTION, MODEL, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return servicer


async def set_health(servicer: health.aio.HealthServicer, serving: bool) -> None:
    """Tells the health of the server and of its two services."""
    state = health_pb2.HealthCheckResponse
    for service in ("", PREDICTION, MODEL):
        await servicer.set(service, state.SERVING if serving else state.NOT_SERVING)


def _handler(
    predictor: Predictor, name: str, request_class: type[Message], method: Callable
) -> grpc.RpcMethodHandler:
    async def call(data: bytes, context: grpc.aio.ServicerContext) -> Message:
        try:
            with predictor.recorded("grpc", name, context.peer()) as record:
                try:
                    request = request_class.FromString(data)
                except DecodeError:
                    raise invalid(f"not a {request_class.DESCRIPTOR.full_name}, or invalid UTF-8") from None
                return await method(request, record)
        except Refused as refused:
            await context.abort(refused.code, refused.message)

    # Bytes come in as they are: gRPC would answer INTERNAL to a message that does not parse.
    return grpc.unary_unary_rpc_method_handler(call, response_serializer=lambda m: m.SerializeToString())


class _Api:
    def __init__(self, predictor: Predictor):
        self._predictor = predictor

    async def predict(self, request: predict_pb2.PredictRequest, record: dict) -> predict_pb2.PredictResponse:
        spec = request.model_spec
        name = spec.signature_name or DEFAULT_SIGNATURE

        def find(servable: Servable) -> Signature:
            if name not in servable.signatures:
                raise Refused(
                    grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name[:80]}" not found.'
                )
            return servable.signatures[name]

        def read(_: Signature) -> dict:
            most = self._predictor.options.max_request_bytes
            return {key: tensors.read(proto, key[:80], most) for key, proto in request.inputs.items()}

        version, outputs = await self._predictor.predict(
            _target(spec), find, read, list(request.output_filter), record
        )
        response = predict_pb2.PredictResponse(model_spec=_spec(spec.name, version, name))
        for key, array in outputs.items():
            response.outputs[key].CopyFrom(tensors.write(array))
        return response

    async def metadata(self, request, record: dict) -> get_model_metadata_pb2.GetModelMetadataResponse:
        return metadata(self._predictor, request, record)

    async def status(self, request, record: dict) -> get_model_status_pb2.GetModelStatusResponse:
        return status(self._predictor, _target(request.model_spec), record)


def _target(spec: model_pb2.ModelSpec) -> Target:
    version = spec.version.value if spec.HasField("version") else None
    return Target(spec.name, version, spec.version_label or None)


def _spec(name: str, version: int, signature: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    spec.version.value = version
    return spec


def metadata(
    predictor: Predictor, request: get_model_metadata_pb2.GetModelMetadataRequest, record: dict
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of the version that is asked for; "signature_def" is the one field there is."""
    record["model"] = request.model_spec.name[:80]
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != "signature_def":
            raise invalid(f"Metadata field {name[:80]} is not supported")
    target = _target(request.model_spec)
    with predictor.versions.hold(target.name, target.version, target.label) as servable:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in servable.signature_defs.items():
            signatures.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=_spec(target.name, servable.version)
        )
    response.metadata["signature_def"].Pack(signatures)
    return response


def status(predictor: Predictor, target: Target, record: dict) -> get_model_status_pb2.GetModelStatusResponse:
    """The state of every version, or of the one that is asked for."""
    record["model"] = target.name[:80]
    if target.label:
        raise invalid(f"Unrecognized servable version label: {target.label[:80]}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, found in predictor.versions.statuses(target.name, target.version).items():
        _add_status(response, version, found)
    return response


def _add_status(
    response: get_model_status_pb2.GetModelStatusResponse, version: int, found: VersionStatus
) -> None:
    each = response.model_version_status.add(version=version)
    each.state = get_model_status_pb2.ModelVersionStatus.State.Value(found.state)
    each.status.error_code = found.code.value[0]
    each.status.error_message = found.message
