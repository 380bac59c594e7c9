"""ConceptWorld's scenes: what is drawn, and that the masks say exactly what was drawn."""

import collections
import itertools

import numpy as np
import pytest

from cmask_tf.data.world import concepts
from cmask_tf.data.world.canvas import Canvas
from cmask_tf.data.world.concepts import ALL_WORDS, CONCEPTS, NEVER_OVERLAP, PARTS_OF
from cmask_tf.data.world.scene import MIN_PIXELS, make_scene
from cmask_tf.data.world.settings import DRAWERS, FALLING, GROUPS, PLACES, SIZES


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(0, "train", index) for index in range(150)]


def _having(name, scenes):
    return {k for k, scene in enumerate(scenes) if name in scene.words or scene.mask(name).any()}


def test_the_table_has_sixty_concepts_of_five_kinds_and_four_levels():
    assert collections.Counter((concept.level, concept.kind) for concept in CONCEPTS.values()) == {
        ("mask", "object"): 12,
        ("box", "object"): 8,
        ("box", "part"): 8,
        ("box", "stuff"): 6,
        ("image", "object"): 9,
        ("image", "part"): 8,
        ("image", "stuff"): 4,
        ("image", "attribute"): 10,
        ("image", "action"): 3,
        ("zero", "object"): 6,
    }
    assert len(CONCEPTS) >= 60
    assert len(ALL_WORDS) - len(CONCEPTS) == len(concepts.SCENE_WORDS) == 14


def test_each_boxed_concept_is_in_one_box_file_and_no_alias_is_a_word():
    assert sorted(concepts.OPEN_IMAGES + concepts.VISUAL_GENOME) == sorted(concepts.BOXED)
    assert set(concepts.ALIASES) <= set(concepts.VISUAL_GENOME)
    assert not {alias for aliases in concepts.ALIASES.values() for alias in aliases} & set(ALL_WORDS)


def test_every_object_has_a_drawer_a_size_and_a_place():
    objects = {name for name, concept in CONCEPTS.items() if concept.kind == "object"}
    placed = {name for slots in PLACES.values() for _, _, weights in slots for name in weights} | {"moon"}
    assert objects == set(DRAWERS) == set(SIZES) == placed
    assert {name for weights in FALLING.values() for name in weights} | {
        name for _, name in GROUPS.values()
    } <= objects


@pytest.mark.parametrize("name", DRAWERS)
def test_a_drawer_draws_the_parts_that_the_table_names(name):
    drawn = [DRAWERS[name](np.random.default_rng(seed)) for seed in range(30)]
    assert {piece.part for pieces in drawn for piece in pieces} - {None} == set(PARTS_OF.get(name, ()))
    for pieces in drawn:
        points = np.concatenate([piece.outline for piece in pieces])
        assert np.isfinite(points).all() and 0.7 < np.ptp(points[:, 1]) < 1.3


def test_a_scene_depends_on_seed_split_and_index_alone(scenes):
    again = make_scene(0, "train", 7)
    assert np.array_equal(again.image, scenes[7].image) and np.array_equal(again.labels, scenes[7].labels)
    for other in (make_scene(1, "train", 7), make_scene(0, "val", 7), make_scene(0, "train", 8)):
        assert not np.array_equal(other.image, again.image)


def test_photos_are_about_192_pixels_long_in_several_shapes(scenes):
    shapes = {scene.image.shape for scene in scenes}
    assert len(shapes) >= 4 and all(176 <= max(shape) <= 192 for shape in shapes)
    assert all(
        scene.image.dtype == np.uint8 and scene.labels.shape == scene.image.shape[:2] for scene in scenes
    )


def test_masks_are_the_pixels_that_were_painted():
    rng = np.random.default_rng(3)
    canvas = Canvas(60, 80)
    paints = {0: np.float32([0, 0, 0])}
    for _ in range(12):
        corners = rng.uniform((0, 0), (80, 60), (3, 2)).astype(np.float32)
        label = canvas.piece("thing")
        paints[label] = rng.integers(0, 256, 3).astype(np.float32)
        canvas.fill(corners, paints[label], label)
    colours = np.array(list(paints.values()))
    np.testing.assert_array_equal(canvas.image, colours[canvas.labels])
    # In the photo, wherever a pixel is of one piece only.
    four = canvas.labels.reshape(60, 2, 80, 2).transpose(0, 2, 1, 3).reshape(60, 80, 4)
    whole = (four == four[..., :1]).all(-1)
    assert whole.mean() > 0.8
    np.testing.assert_array_equal(canvas.photo()[whole], colours[canvas.label_map()][whole])


def test_what_is_painted_later_hides_what_is_under_it():
    canvas = Canvas(8, 8)
    square = np.float32([(0, 0), (8, 0), (8, 8), (0, 8)])
    under, over = canvas.piece("under"), canvas.piece("over")
    canvas.fill(square, np.float32([1, 1, 1]), under)
    canvas.fill(np.float32([(4, 0), (8.2, 0), (8.2, 8), (4, 8)]), np.float32([2, 2, 2]), over)
    assert (canvas.label_map()[:, :4] == under).all() and (canvas.label_map()[:, 4:] == over).all()


def test_no_mask_is_empty_and_unseen_concepts_have_none(scenes):
    for scene in scenes[:60]:
        masks = scene.masks()
        assert all(mask.sum() >= MIN_PIXELS for mask in masks.values())
        for name in CONCEPTS:
            expected = scene.mask(name)
            assert np.array_equal(masks[name], expected) if name in masks else expected.sum() < MIN_PIXELS


def test_parts_lie_inside_their_wholes(scenes):
    wholes = {part: [name for name, parts in PARTS_OF.items() if part in parts] for part in CONCEPTS}
    for scene in scenes:
        for part in (name for name, concept in CONCEPTS.items() if concept.kind == "part"):
            inside = np.logical_or.reduce([scene.mask(name) for name in wholes[part]])
            assert not (scene.mask(part) & ~inside).any()


def test_pairs_that_never_overlap_do_not(scenes):
    pairs = 0
    for scene in scenes:
        for one, two in itertools.combinations(scene.placed, 2):
            if frozenset((one.name, two.name)) in NEVER_OVERLAP:
                apart = (one.bounds[2:] < two.bounds[:2]).any() or (two.bounds[2:] < one.bounds[:2]).any()
                assert apart, (one.name, two.name)
                pairs += 1
    assert pairs > 10


def test_attributes_and_actions_are_the_union_of_what_has_them(scenes):
    words = set()
    for scene in scenes:
        for item, instance in zip(scene.placed, scene.instances, strict=True):
            visible = scene.mask(item.name, instance.labels)
            for word in filter(None, (item.colour, item.pattern, item.action)):
                assert not (visible & ~scene.mask(word)).any()
                words.add(word)
        doing = [
            scene.mask(item.name, instance.labels)
            for item, instance in zip(scene.placed, scene.instances, strict=True)
            if item.action == "falling"
        ]
        assert scene.mask("falling").sum() == sum(mask.sum() for mask in doing)
    assert words == {*concepts.COLOURS, *concepts.PATTERNS, "falling", "flying", "floating"}


def test_colour_names_no_object(scenes):
    for name in ("house", "car", "ball"):
        seen = {item.colour for scene in scenes for item in scene.placed if item.name == name}
        assert len(seen) >= 5, name


def test_objects_are_few_legible_and_of_many_sizes(scenes):
    counts = [sum(not item.group for item in scene.placed) for scene in scenes]
    assert 3 <= np.mean(counts) <= 6
    alone = [item.bounds for scene in scenes for item in scene.placed if not item.group]
    sides = np.array([min(right - left, bottom - top) for left, top, right, bottom in alone])
    assert np.mean(sides >= 18) > 0.9
    assert np.quantile(sides, 0.98) / np.quantile(sides, 0.02) > 4


def test_words_keep_company_by_place(scenes):
    def lift(one, two):
        a, b = _having(one, scenes), _having(two, scenes)
        return len(a & b) * len(scenes) / (len(a) * len(b))

    assert lift("snowman", "snow") > 3 and lift("fish", "sea") > 3 and lift("wheel", "road") > 2
    assert lift("cup", "sky") < 0.5 and not _having("fish", scenes) & _having("road", scenes)
    assert lift("house", "roof") > 2 and lift("car", "wheel") > 2
    # A zero word keeps the company of the word that stands in for it.
    assert lift("cottage", "roof") > 2 and lift("van", "wheel") > 2


def test_things_are_hidden_by_other_things(scenes):
    hidden = 0
    for scene in scenes:
        for instance in scene.instances:
            hidden += 0 < scene.mask(instance.name, instance.labels).sum() < 0.9 * instance.drawn
    assert hidden > 0.5 * len(scenes)
