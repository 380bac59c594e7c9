"""Masks over gRPC with min-tfs-client from PyPI: TensorFlow Serving's API in Python without TensorFlow.

    python -m venv env && env/bin/pip install min-tfs-client 'protobuf<3.21'
    env/bin/python serving/examples/min_tfs.py photo.jpg dress --server 127.0.0.1:8500

Its messages are of 2020, hence the old protobuf and an environment of its own. Its `predict_request` calls
`serving_default`; for `segment_encoded`, whose inputs are bytes, its messages and its stub do. Nothing here
is ours: `cmask client` does more and needs no such environment.
"""

import argparse
import os
from pathlib import Path

import grpc
from min_tfs_client.tensors import tensor_proto_to_ndarray
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.framework.types_pb2 import DT_STRING
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub


def strings(values: list[bytes], *shape: int) -> TensorProto:
    """A tensor of bytes."""
    dimensions = [TensorShapeProto.Dim(size=size) for size in shape]
    return TensorProto(dtype=DT_STRING, string_val=values, tensor_shape=TensorShapeProto(dim=dimensions))


def main() -> None:
    """Asks for one photo's concepts and writes each mask beside the photo's name in this folder."""
    parser = argparse.ArgumentParser(description="Masks over gRPC with min-tfs-client.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("concepts", nargs="+")
    parser.add_argument("--server", default="127.0.0.1:8500")
    args = parser.parse_args()

    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "default", "segment_encoded"
    request.inputs["image_bytes"].CopyFrom(strings([args.photo.read_bytes()], 1))
    names = [name.encode() for name in args.concepts]
    request.inputs["concepts"].CopyFrom(strings(names, 1, len(names)))

    limits = [(f"grpc.max_{way}_message_length", 256 << 20) for way in ("send", "receive")]
    with grpc.insecure_channel(args.server, limits) as channel:
        outputs = PredictionServiceStub(channel).Predict(request, timeout=60).outputs
    scores = tensor_proto_to_ndarray(outputs["score"])[0]
    for name, score, png in zip(args.concepts, scores, outputs["mask_png_bytes"].string_val, strict=True):
        target = Path(f"{args.photo.stem}.{name}.png")
        partial = target.with_name(target.name + ".partial")
        partial.write_bytes(png)
        os.replace(partial, target)
        print(f"{args.photo}: {name}: score {score:.2f} -> {target}")


if __name__ == "__main__":
    main()
