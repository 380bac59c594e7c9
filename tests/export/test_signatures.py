"""The contract with clients: names, dtypes and shapes, written out here once more, and in the files."""

import subprocess
import sys

from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.dtypes import as_dtype

from cmask_tf.export.signatures import SIGNATURES

DIM = 3  # of the smallest system's word vectors
GOLDEN = """
serving_default < image uint8 ? ? ? 3
serving_default < word_vector float32 ? D
serving_default > mask float32 ? ? ?
serving_default > present bool ?
serving_default > score float32 ?
segment_concepts < image uint8 ? ? ? 3
segment_concepts < word_vectors float32 ? ? D
segment_concepts > mask float32 ? ? ? ?
segment_concepts > present bool ? ?
segment_concepts > score float32 ? ?
segment_encoded < concepts string ? ?
segment_encoded < image_bytes string ?
segment_encoded > known bool ? ?
segment_encoded > mask_png_bytes string ? ?
segment_encoded > present bool ? ?
segment_encoded > score float32 ? ?
attention < image uint8 ? ? ? 3
attention < word_vector float32 ? D
attention > attention float32 ? 2 ? ?
attention > coarse float32 ? 2 ? ?
""".split("\n")[1:-1]


def test_the_table_of_signatures_is_the_contract():
    lines = []
    for name, signature in SIGNATURES.items():
        for mark, tensors in (("<", signature.inputs), (">", signature.outputs)):
            for key, tensor in sorted(tensors.items()):
                shape = (str(s) if s == "D" or isinstance(s, int) else "?" for s in tensor.shape)
                lines.append(" ".join([name, mark, key, tensor.dtype, *shape]))
    assert lines == GOLDEN


def test_the_files_hold_the_signatures_of_the_contract(exported):
    saved = SavedModel.FromString((exported.directory / "saved_model.pb").read_bytes())
    [graph] = saved.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    lines = []
    for name in SIGNATURES:
        definition = graph.signature_def[name]
        assert definition.method_name == "tensorflow/serving/predict"
        for mark, tensors in (("<", definition.inputs), (">", definition.outputs)):
            for key, tensor in sorted(tensors.items()):
                sides = [dim.size for dim in tensor.tensor_shape.dim]
                shape = ["?" if side == -1 else str(side) for side in sides]
                lines.append(" ".join([name, mark, key, as_dtype(tensor.dtype).name, *shape]))
    assert lines == [line.replace("D", str(DIM)) for line in GOLDEN]
    assert set(graph.signature_def) == {*SIGNATURES, "__saved_model_init_op"}


def test_the_contract_needs_no_tensorflow():
    code = "import sys, cmask_tf.export.signatures; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
