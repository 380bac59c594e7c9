"""ONNX models whose convolutions compute in half precision; all that needs many digits stays float32.

Types are written into the graph, so that every runtime computes the same: TensorRT 11 knows no other way, and
on the CPU onnxruntime shows what the rounding costs.
"""

from __future__ import annotations

import numpy as np

# What is half precision between two convolutions. Sums, lengths, stretching and positions need float32.
_BETWEEN = ("Relu", "Clip", "Add", "Concat", "Transpose", "AveragePool", "MaxPool", "Pad", "Resize")
_FIRST_ALONE = ("Resize",)  # whose further inputs keep their types


def halved(made):
    """A copy of an onnx.ModelProto in which every Conv, and what lies between them, computes in float16.

    Inputs and outputs keep their types. Weights of convolutions are stored in float16.
    """
    copy = type(made)()
    copy.CopyFrom(made)
    _Half(copy.graph).rewrite()
    return copy


class _Half:
    def __init__(self, graph) -> None:
        self.graph = graph
        self.numbers = {tensor.name: tensor for tensor in graph.initializer}
        self.half: dict[str, str] = {}  # of a float32 tensor, the name it has in half precision
        self.made_half: set[str] = set()  # the outputs of nodes that compute in it
        self.only_half: set[str] = set()  # those that do not exist in float32 yet
        self.nodes = []

    def rewrite(self) -> None:
        outputs = {output.name for output in self.graph.output}
        for node in list(self.graph.node):
            if self._becomes_half(node):
                for i, name in enumerate(node.input):
                    if name and not (i and node.op_type in _FIRST_ALONE):
                        node.input[i] = self._narrow(name)
                for i, name in enumerate(node.output):
                    self.half[name] = node.output[i] = f"{name}_half"
                    self.made_half.add(name)
                    self.only_half.add(name)
                self.nodes.append(node)
            else:
                for name in node.input:
                    self._widen(name)
                self.nodes.append(node)
        for name in sorted(outputs):
            self._widen(name)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _becomes_half(self, node) -> bool:
        if node.op_type == "Conv":
            return True
        given = node.input[:1] if node.op_type in _FIRST_ALONE else node.input
        given = [name for name in given if name and name not in self.numbers]
        return node.op_type in _BETWEEN and bool(given) and self.made_half.issuperset(given)

    def _narrow(self, name: str) -> str:
        """The tensor's name in half precision; made where it is first asked for."""
        from onnx import TensorProto, numpy_helper

        number = self.numbers.get(name)
        if number is not None and number.data_type != TensorProto.FLOAT:
            return name
        if name not in self.half:
            self.half[name] = f"{name}_half"
            if number is None:
                self._cast(name, self.half[name], TensorProto.FLOAT16)
            else:
                value = numpy_helper.to_array(number).astype(np.float16)
                self.graph.initializer.append(numpy_helper.from_array(value, self.half[name]))
        return self.half[name]

    def _widen(self, name: str) -> None:
        from onnx import TensorProto

        if name in self.only_half:
            self.only_half.remove(name)
            self._cast(self.half[name], name, TensorProto.FLOAT)

    def _cast(self, given: str, made: str, kind: int) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Cast", [given], [made], f"{made}_cast", to=kind))
