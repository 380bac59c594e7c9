"""gRPC as TensorFlow Serving speaks it: what is answered, what is refused, with which code."""

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from serving_fixture import arrays, encoded_request, mask_of, png, predict_request, serving, stub
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def server(module_base):
    with serving(module_base) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server):
    opened, _ = stub(server)
    with opened:
        yield opened


@pytest.fixture(scope="module")
def predict(server, channel):
    return stub(server)[1].Predict


def refused(call, request):
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=30)
    return error.value.code(), error.value.details()


def test_encoded_images_give_png_masks_scores_and_what_is_known(predict):
    images = [png(8, 6, (255, 0, 128)), png(5, 9, (0, 51, 0))]
    response = predict(encoded_request(images, [[b"red", b"what"], [b"green", b""]]))
    found = arrays(response)
    assert found["known"].tolist() == [[True, False], [True, False]]
    np.testing.assert_allclose(found["score"], [[1, 0], [0.2, 0]], rtol=1e-6)
    assert found["present"].tolist() == [[True, False], [False, False]]
    assert mask_of(found["mask_png_bytes"][0, 0]).shape == (8, 6)
    assert (mask_of(found["mask_png_bytes"][1, 0]) == 51).all()
    assert found["mask_png_bytes"][0, 1] == b""
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 1)
    assert response.model_spec.signature_name == "segment_encoded"


def test_the_default_signature_needs_no_name_and_values_come_in_the_field_of_their_type(predict):
    image = np.full([1, 2, 3, 3], 255, np.uint8)
    response = predict(predict_request("", image=image, word_vector=np.float32([[0, 0.25, 0]])))
    # TensorFlow Serving answers with float_val, not tensor_content; some clients read only that.
    assert list(response.outputs["mask"].float_val) == [0.25] * 6
    assert list(response.outputs["present"].bool_val) == [False]
    assert response.model_spec.signature_name == "serving_default"


def test_several_vectors_of_one_image(predict):
    image = np.full([2, 3, 4, 3], 255, np.uint8)
    vectors = np.tile(np.eye(3, dtype=np.float32)[:2], [2, 1, 1])
    found = arrays(predict(predict_request("segment_concepts", image=image, word_vectors=vectors)))
    assert found["mask"].shape == (2, 2, 3, 4)


def test_an_output_filter_leaves_the_others_out(predict):
    request = encoded_request([png()], [[b"red"]])
    request.output_filter.extend(["score", "known"])
    assert set(predict(request).outputs) == {"score", "known"}


@pytest.mark.parametrize(
    "names, code",
    [(["score", "score"], Code.INVALID_ARGUMENT), (["nothing"], Code.INVALID_ARGUMENT)],
)
def test_an_output_filter_must_name_outputs_once(predict, names, code):
    request = encoded_request([png()], [[b"red"]])
    request.output_filter.extend(names)
    assert refused(predict, request)[0] == code


@pytest.mark.parametrize(
    "request_of, code, words",
    [
        (lambda: encoded_request([png()], [[b"red"]], name=""), Code.INVALID_ARGUMENT, "no name"),
        (lambda: encoded_request([png()], [[b"red"]], name="other"), Code.NOT_FOUND, "Latest(other)"),
        (lambda: encoded_request([png()], [[b"red"]], version=7), Code.NOT_FOUND, "Specific(toy, 7)"),
        (lambda: predict_request("nope", image=[1]), Code.FAILED_PRECONDITION, '"nope" not found'),
        (
            lambda: predict_request("segment_encoded", image_bytes=[png()]),
            Code.INVALID_ARGUMENT,
            "Missing but required: {concepts}",
        ),
        (
            lambda: predict_request("segment_encoded", image_bytes=[png()], concepts=[[1.0]]),
            Code.INVALID_ARGUMENT,
            "concepts: float32 [1, 1]; expected string [-1, -1]",
        ),
        (
            lambda: encoded_request([png()], [[b"red"], [b"red"]]),
            Code.INVALID_ARGUMENT,
            "the same number in all",
        ),
    ],
    ids=["no name", "model", "version", "signature", "missing", "type", "rows"],
)
def test_requests_that_do_not_fit_are_refused(predict, request_of, code, words):
    found, message = refused(predict, request_of())
    assert found == code
    assert words in message


def test_a_version_by_number_and_an_unknown_label(predict):
    assert predict(encoded_request([png()], [[b"red"]], version=1)).outputs
    request = encoded_request([png()], [[b"red"]])
    request.model_spec.version_label = "stable"
    assert refused(predict, request) == (
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    )


def test_metadata_is_the_signatures_of_the_saved_model(server, channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    response = stub(server)[1].GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    encoded = signatures.signature_def["segment_encoded"]
    assert set(encoded.inputs) == {"image_bytes", "concepts"}
    assert response.model_spec.version.value == 1


@pytest.mark.parametrize("fields", [[], ["weights"]])
def test_metadata_has_one_field(server, fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "toy"
    assert refused(stub(server)[1].GetModelMetadata, request)[0] == Code.INVALID_ARGUMENT


def test_status(channel):
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    (only,) = service.GetModelStatus(request).model_version_status
    assert (only.version, only.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    request.model_spec.version.value = 9
    assert refused(service.GetModelStatus, request)[0] == Code.NOT_FOUND


def test_what_is_not_served_is_unimplemented(server, channel):
    assert refused(stub(server)[1].Classify, classification_pb2.ClassificationRequest())[0] == (
        Code.UNIMPLEMENTED
    )
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    reload = model_management_pb2.ReloadConfigRequest()
    assert refused(service.HandleReloadConfigRequest, reload)[0] == Code.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["", "tensorflow.serving.PredictionService"])
def test_health(channel, service):
    health = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services_and_gives_their_descriptors(channel):
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictionService"),
    ]
    listed, described = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(asked))
    names = {service.name for service in listed.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(each)
        for each in described.file_descriptor_response.file_descriptor_proto
    ]
    methods = {method.name for file in files for service in file.service for method in service.method}
    assert "Predict" in methods
