"""One tf.data pipeline per stage: what a batch holds, and that it follows from seed, epoch and place."""

import gc
import io
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import reference
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from cmask_tf import geometry, imageio
from cmask_tf.data import attention_records, pipelines, schema
from cmask_tf.data.sources import Annotated, Object
from cmask_tf.data.topics import Topics

COUNT, SIZE = 23, 32
SPELLING = {"hat": 4, "hats": 4, "bag": 0, "coat": 7}


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def scene(number):
    """A dark photo with a bright rectangle, the hat, and its box; red tells the photo's number."""
    random = np.random.default_rng(number)
    height, width = random.integers(48, 80, 2)
    top, left = random.integers(4, 20, 2)
    bottom, right = top + random.integers(12, 24), left + random.integers(12, 24)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = number * 5
    image[top:bottom, left:right, 1:] = 255
    return image, (top / height, left / width, bottom / height, right / width)


def rle_of(mask):
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))


def record(tmp_path, number, tags=None):
    image, box = scene(number)
    objects = (
        Object("hat", box, rle_of(image[..., 1] > 0)),
        Object("umbrella", (0.0, 0.0, 1.0, 1.0)),  # a name that is not trained
        Object("bag", (0.0, 0.0, 1.0, 1.0), rle_of(np.ones(image.shape[:2])), crowd=True),
    )
    tags = (f"tag{number}", "hat", "dog", "hats") if tags is None else tags
    return schema.encode(Annotated(tmp_path, str(number), *image.shape[:2], objects, tags), png(image))


def save(tmp_path, serialized, shards=1):
    files = []
    for shard in range(shards):
        files.append(str(tmp_path / f"{shard}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for one in serialized[shard::shards]:
                writer.write(one)
    return SimpleNamespace(files=files)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return save(folder, [record(folder, number) for number in range(COUNT)], shards=3)


@pytest.fixture(scope="module")
def attended(tmp_path_factory):
    """The same photos with a true attention to the hat, and a second concept without any object."""
    folder = tmp_path_factory.mktemp("attended")
    serialized = []
    for number in range(COUNT):
        seen = (scene(number)[0][..., 1] > 0).astype(np.float32)
        maps = []
        for size in (12, 20):
            both = [cv2.resize(m, (size, size), interpolation=cv2.INTER_AREA) for m in (seen, seen[:, ::-1])]
            maps.append(np.stack([np.stack([m * 0.4 + 0.1, 0 * m]) for m in both]))
        serialized.append(attention_records.encode(record(folder, number), ["hat", "shoe"], maps))
    return save(folder, serialized, shards=2)


def embedding(photos, batch=4, **options):
    """A topic of its tags is 1 at their indices."""
    options = {"seed": 1, "epoch": 0, **options}
    spelling = SPELLING | {f"tag{number}": 100 + number for number in range(COUNT)}
    topics = Topics(spelling, np.ones(100 + COUNT), np.eye(100 + COUNT, dtype=np.float32))
    return pipelines.embedding_batches(photos, topics, SIZE, batch, **options)


def refinement(photos, batch=4, **options):
    options = {"seed": 1, "epoch": 0, **options}
    return pipelines.refinement_batches(photos, {"hat": 5, "bag": 2}, SIZE, 5, batch, **options)


def segmentation(attended, batch=4, **options):
    options = {"seed": 1, "epoch": 0, "noise": 0.1, **options}
    return pipelines.segmentation_batches(attended, SIZE, batch, **options)


STAGES = {"embedding": embedding, "refinement": refinement, "segmentation": segmentation}


def run(dataset):
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset]


def assert_same(batches, others):
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name], name)


def numbers(batches):
    """Which photos they are, by a tag of their own."""
    return [int(np.argmax(topic[100:])) for batch in batches for topic in batch["topic"]]


@pytest.fixture(scope="module", params=STAGES)
def stage(request, photos, attended):
    """A pipeline that waits for its options, and its batches without any."""
    records = attended if request.param == "segmentation" else photos
    return SimpleNamespace(
        pipeline=lambda **options: STAGES[request.param](records, **options),
        batches=run(STAGES[request.param](records)),
    )


def test_steps_count_the_smaller_last_batch():
    assert [pipelines.steps(count, 4) for count in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("train", [True, False])
def test_an_epoch_has_every_photo_once_and_the_steps_that_are_announced(photos, train):
    batches = run(embedding(photos, train=train))
    assert len(batches) == pipelines.steps(COUNT, 4)
    assert [len(batch["image"]) for batch in batches] == [4] * 5 + [3]
    assert sorted(numbers(batches)) == list(range(COUNT))


def test_equal_seed_and_epoch_give_equal_batches_whatever_the_parallelism(stage):
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    assert_same(stage.batches, run(stage.pipeline().with_options(options)))


@pytest.mark.parametrize("other", [{"epoch": 1}, {"seed": 2}])
def test_another_epoch_or_seed_gives_another_order_and_other_augmentation(photos, other):
    first, second = run(embedding(photos)), run(embedding(photos, **other))
    assert numbers(first) != numbers(second)
    one, two = (np.concatenate([batch["image"] for batch in batches]) for batches in (first, second))
    for place, number in enumerate(numbers(first)):
        assert np.abs(one[place] - two[numbers(second).index(number)]).max() > 1


def test_an_example_is_augmented_by_its_place_alone(stage):
    others = run(stage.pipeline(batch=7))
    for name in ("image", *({"attention", "mask"} & others[0].keys())):
        one, two = (np.concatenate([batch[name] for batch in batches]) for batches in (stage.batches, others))
        np.testing.assert_array_equal(one, two)


def test_skipping_goes_on_exactly(stage):
    assert_same(stage.batches[4:], run(stage.pipeline(skip=4)))


def test_skipping_goes_on_exactly_in_validation(photos):
    assert_same(run(embedding(photos, train=False))[2:], run(embedding(photos, skip=2, train=False)))


def test_skipped_photos_are_not_decoded(tmp_path, capsys):
    broken = schema.encode(Annotated(tmp_path, "0", 4, 4, (), ("hat",)), b"\xff\xd8\xff broken")
    records = save(tmp_path, [broken, record(tmp_path, 1, ("hat",))])
    assert len(run(embedding(records, batch=1, train=False, skip=1))) == 1
    assert capsys.readouterr().err == ""
    assert len(run(embedding(records, batch=1, train=False))) == 2
    assert "cannot be decoded" in capsys.readouterr().err


def test_without_training_photos_come_in_order_and_as_they_are(photos):
    batches = run(embedding(photos, train=False))
    order = [number for shard in range(3) for number in range(COUNT)[shard::3]]
    assert numbers(batches) == order
    images = np.concatenate([batch["image"] for batch in batches])
    assert images.dtype == np.float32 and images.shape == (COUNT, SIZE, SIZE, 3)
    for image, number in zip(images, order, strict=True):
        np.testing.assert_allclose(image, geometry.resize_image(scene(number)[0], SIZE), atol=1e-4)


def test_the_table_of_names_lives_as_long_as_the_pipeline(photos):
    dataset = embedding(photos)
    gc.collect()
    assert len(numbers(run(dataset))) == COUNT


def test_ground_truth_of_boxes_leaves_out_crowds_and_unknown_names(photos):
    (batch, *_) = run(refinement(photos, train=False))
    grid = pipelines.steps(SIZE, 5)
    assert batch["concepts"].dtype == np.int32 and batch["targets"].dtype == np.float32
    assert batch["concepts"].tolist() == [[5]] * 4
    assert batch["tags"].tolist() == [[5]] * 4  # "hats" is no name here
    for number, targets in zip((0, 3, 6, 9), batch["targets"], strict=True):
        boxes = np.float32([scene(number)[1]])
        np.testing.assert_array_equal(targets, reference.boxes_to_grid(boxes, [0], 1, grid, grid))


def test_boxes_of_one_concept_share_a_map_and_missing_concepts_are_padded(tmp_path):
    quarters = {"hat": (0.0, 0.0, 0.5, 0.5), "bag": (0.5, 0.5, 1.0, 1.0)}
    contents = [("bag", "hat", "bag"), ("hat",), ("dog",), ()]
    serialized = []
    for names in contents:
        objects = tuple(Object(name, quarters.get(name, (0.0, 0.0, 1.0, 1.0))) for name in names)
        image = np.zeros((20, 20, 3), np.uint8)
        serialized.append(schema.encode(Annotated(tmp_path, "", 20, 20, objects, ()), png(image)))
    (batch,) = run(refinement(save(tmp_path, serialized), train=False))
    assert batch["concepts"].tolist() == [[2, 5], [5, -1], [-1, -1], [-1, -1]]
    assert batch["targets"].sum(axis=(1, 2)).tolist() == [[16, 16], [16, 0], [0, 0], [0, 0]]
    assert not batch["targets"][2:].any()
    assert batch["targets"][0, -1, -1].tolist() == [1, 0] and batch["targets"][0, 0, 0].tolist() == [0, 1]


def test_boxes_follow_the_picture_through_flip_and_crop(photos):
    """The hat is what is bright: its grid is the one that its box as seen in the crop gives."""
    agreement, seen = [], 0
    for epoch in range(2):
        for batch in run(refinement(photos, epoch=epoch)):
            blue = (batch["image"][..., 2:] > 120).astype(np.float32)
            bright = tf.image.resize(blue, batch["targets"].shape[1:3], method="area")
            for cells, targets, ids in zip(bright[..., 0], batch["targets"], batch["concepts"], strict=True):
                seen += 1
                if ids[0] == 5:
                    agreement.append(((cells > 0.5) == targets[..., 0]).numpy().mean())
    assert seen == 2 * COUNT and len(agreement) > 0.9 * seen
    assert np.mean(agreement) > 0.97 and np.min(agreement) > 0.8


def test_attention_examples_are_photos_times_concepts(attended):
    assert attention_records.count_pairs(attended.files) == 2 * COUNT
    batches = run(segmentation(attended))
    assert len(batches) == pipelines.steps(2 * COUNT, 4)
    images = [batch["image"] for batch in batches]
    assert sum(map(len, images)) == 2 * COUNT


def test_without_training_attention_is_what_the_model_computes(attended):
    batch = run(segmentation(attended, train=False))[0]
    assert sorted(batch) == ["attention", "image", "mask", "weight"]
    for name, channels in {"image": 3, "attention": 2, "mask": 1, "weight": 1}.items():
        assert batch[name].shape == (4, SIZE, SIZE, channels)
        assert batch[name].dtype == (np.float32 if channels > 1 else bool)
    serialized = next(iter(tf.data.TFRecordDataset(attended.files)))
    maps = attention_records.maps_of(attention_records.parse(serialized), 0, False)
    for scale, raw in enumerate(maps):
        expected = geometry.resize_maps(geometry.min_max(raw, (0, 1))[..., None], SIZE, SIZE)
        np.testing.assert_allclose(batch["attention"][0, ..., scale], expected[..., 0], atol=1e-5)
    hat = (scene(0)[0][..., 1:2] > 0).astype(np.uint8)
    np.testing.assert_array_equal(batch["mask"][0], geometry.resize_labels(hat, SIZE))
    assert batch["weight"].min() == 1
    assert not batch["mask"][1].any() and not batch["attention"][1].any()  # the concept without objects


def test_mask_and_attention_follow_the_picture_through_flip_and_crop(attended):
    correlations = []
    for epoch in range(2):
        for batch in run(segmentation(attended, epoch=epoch, noise=0.0)):
            for image, attention, mask in zip(batch["image"], batch["attention"], batch["mask"], strict=True):
                if mask.any():
                    assert ((image[..., 2] > 110) == mask[..., 0]).mean() > 0.96
                    flat = attention.reshape(-1, 2).T
                    correlations.append([np.corrcoef(scale, mask.ravel())[0, 1] for scale in flat])
    assert len(correlations) == 2 * COUNT
    assert np.min(correlations) > 0.75 and np.mean(correlations) > 0.87


def test_training_attention_spans_0_to_1_at_each_scale_and_noise_changes_only_it(attended):
    clean, noisy = run(segmentation(attended, noise=0.0)), run(segmentation(attended, noise=0.2))
    for one, two in zip(clean, noisy, strict=True):
        np.testing.assert_array_equal(one["mask"], two["mask"])
        np.testing.assert_array_equal(one["image"], two["image"])
        hats = one["mask"].any(axis=(1, 2, 3))
        assert (np.abs(one["attention"] - two["attention"]).max(axis=(1, 2))[hats] > 0.02).all()
        for attention in (one["attention"][hats], two["attention"]):
            np.testing.assert_allclose(attention.min(axis=(1, 2)), 0, atol=1e-6)
            np.testing.assert_allclose(attention.max(axis=(1, 2)), 1, atol=1e-6)


def test_crowds_of_the_concept_have_no_weight(tmp_path):
    left, top = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    left[:, :4], top[:4] = True, True
    objects = (
        Object("hat", None, rle_of(left)),
        Object("hat", None, rle_of(left[::-1] & top)),  # a second instance, inside the first
        Object("hat", None, rle_of(top), crowd=True),
        Object("bag", None, rle_of(~left), crowd=True),  # another concept's crowd is background
    )
    image = np.zeros((8, 8, 3), np.uint8)
    serialized = schema.encode(Annotated(tmp_path, "", 8, 8, objects, ()), png(image))
    serialized = attention_records.encode(serialized, ["hat"], [np.zeros((2, 1, 2, 2))] * 2)
    dataset = pipelines.segmentation_batches(save(tmp_path, [serialized]), 8, 1, seed=0, epoch=0, train=False)
    (batch,) = run(dataset)
    np.testing.assert_array_equal(batch["mask"][0, ..., 0], left)
    np.testing.assert_array_equal(batch["weight"][0, ..., 0], ~(top & ~left))


def test_plain_photos_at_several_sizes_with_their_records(photos):
    batches = run(pipelines.photo_batches(photos, (16, 40), 8))
    assert [batch["image_16"].shape for batch in batches] == [(8, 16, 16, 3), (8, 16, 16, 3), (7, 16, 16, 3)]
    assert batches[0]["image_40"].shape == (8, 40, 40, 3)
    stored = [one.numpy() for one in tf.data.TFRecordDataset(photos.files)]
    assert [one for batch in batches for one in batch["serialized"]] == stored
    expected = geometry.resize_image(scene(0)[0], 40)
    np.testing.assert_allclose(batches[0]["image_40"][0], expected, atol=1e-4)
    assert_same(run(pipelines.photo_batches(photos, (16, 40), 8, skip=2)), batches[2:])


@pytest.mark.parametrize(
    "mode, kind", [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("L", "PNG")]
)
def test_training_and_use_decode_alike(tmp_path, mode, kind):
    noise = np.random.default_rng(0).integers(0, 256, (21, 34, 4), np.uint8)
    image = Image.fromarray(noise if mode == "RGBA" else noise[..., :3])
    image.convert(mode).save(tmp_path / "a", kind)
    decoded = pipelines.decode_photo((tmp_path / "a").read_bytes()).numpy()
    read = imageio.read_image(tmp_path / "a")
    assert decoded.dtype == np.uint8
    # Pillow and TensorFlow round transparent pixels apart.
    assert np.abs(decoded.astype(int) - read).max() <= (mode == "RGBA")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG"])
def test_a_part_is_decoded_to_the_pixels_of_the_whole(kind, subsampling):
    random, file = np.random.default_rng(0), io.BytesIO()
    image = Image.fromarray(random.integers(0, 256, (75, 91, 3), np.uint8))
    options = {"subsampling": subsampling, "progressive": kind == "progressive"} if kind != "PNG" else {}
    image.save(file, "PNG" if kind == "PNG" else "JPEG", **options)
    whole = pipelines.decode_photo(file.getvalue()).numpy()
    decode = tf.function(pipelines.decode_photo)
    windows = [(0, 0, 75, 91), (74, 90, 1, 1)]
    for _ in range(25):
        rows, columns = random.integers(1, 76), random.integers(1, 92)
        windows.append((random.integers(0, 76 - rows), random.integers(0, 92 - columns), rows, columns))
    for window in windows:
        top, left, rows, columns = window
        part = decode(tf.constant(file.getvalue()), tf.constant(window, tf.int32))
        np.testing.assert_array_equal(part, whole[top : top + rows, left : left + columns])
