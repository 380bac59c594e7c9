"""The messages without TensorFlow are TensorFlow Serving's; their tensors read as TensorFlow reads them."""

import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from cmask_tf.serving import client_messages
from cmask_tf.serving.client_messages import messages, read, set_strings


def test_the_descriptors_are_those_of_the_installed_tensorflow_serving_api():
    assert client_messages.DESCRIPTORS.read_bytes() == client_messages.build()


def test_they_name_the_services_that_other_clients_call():
    files = descriptor_pb2.FileDescriptorSet.FromString(client_messages.DESCRIPTORS.read_bytes()).file
    methods = {f"/{f.package}.{s.name}/{m.name}" for f in files for s in f.service for m in s.method}
    assert methods == {client_messages.PREDICT, "/tensorflow.serving.ModelService/GetModelStatus"}


def test_a_request_is_what_the_generated_modules_read():
    from tensorflow import make_ndarray
    from tensorflow_serving.apis import predict_pb2

    request = messages().PredictRequest()
    request.model_spec.name = "default"
    set_strings(request.inputs["concepts"], [b"dress", b"", b"bag", "Hüte".encode()], [2, 2])
    theirs = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert theirs.model_spec.name == "default"
    concepts = make_ndarray(theirs.inputs["concepts"])
    assert concepts.tolist() == [[b"dress", b""], [b"bag", "Hüte".encode()]]


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.25, 1.0], [0.5, 0.5]], np.float32),
        np.full((2, 3), 0.5, np.float32),
        np.array([[True, False]]),
        np.array([[b"\x89PNG", b""]], object),
        np.zeros((0, 2), np.float32),
    ],
    ids=["floats", "one float repeated", "bools", "strings", "no rows"],
)
@pytest.mark.parametrize("packed", [True, False], ids=["tensor_content", "values"])
def test_an_answer_reads_as_tensorflow_reads_it(values, packed):
    from tensorflow import make_ndarray, make_tensor_proto
    from tensorflow.core.framework import tensor_pb2

    theirs = make_tensor_proto(values)
    if not packed and theirs.tensor_content:
        field = {np.float32: "float_val", np.bool_: "bool_val"}[values.dtype.type]
        theirs = tensor_pb2.TensorProto(dtype=theirs.dtype, tensor_shape=theirs.tensor_shape)
        # TensorFlow itself leaves out what repeats the last value.
        flat = values.ravel().tolist()
        while len(flat) > 1 and flat[-1] == flat[-2]:
            flat.pop()
        getattr(theirs, field).extend(flat)
    response = messages().PredictResponse()
    response.outputs["x"].ParseFromString(theirs.SerializeToString())
    ours = read(response.outputs["x"])
    assert ours.dtype == values.dtype
    np.testing.assert_array_equal(ours, make_ndarray(theirs))


def test_a_tensor_that_lacks_values_is_an_error():
    tensor = messages().PredictResponse().outputs["x"]
    set_strings(tensor, [b"one"], [2])
    with pytest.raises(ValueError, match=r"1 values for shape \(2,\)"):
        read(tensor)


def test_the_client_does_not_import_tensorflow():
    code = "import sys, cmask_tf.serving.client_folder; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
