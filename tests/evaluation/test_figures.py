"""The paper's figures from a small reproduction whose right pictures are known."""

import json

import numpy as np
import pytest
from figures_fixture import (
    ABSENT,
    CONCEPTS,
    PHOTOS,
    FakeSystem,
    colour,
    iou,
    write_data,
    write_examples,
    write_reproduction,
)
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.evaluation.figures import figures_of, make_figures
from cmask_tf.evaluation.figures.cells import Cell, gather
from cmask_tf.evaluation.figures.examples import Pair, at_shares, read_examples, spread_concepts, worst
from cmask_tf.evaluation.figures.make import open_systems
from cmask_tf.evaluation.figures.plans import make_plans

PAPER = ["Fig. 3", "Fig. 4", "Fig. 5"] + [
    f"supplement, Fig. {n}" for n in (1, 2, 3, 4, 5, 6, "7 to 10", 11, 12, 13, 14)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A reproduction with our system, its refined maps, and a closed set that knows the dress alone."""
    folder = tmp_path_factory.mktemp("made")
    write_data(folder / "data")
    write_reproduction(folder / "reproduction", folder / "data")
    systems = {
        "Ours": FakeSystem(),
        "Refined": FakeSystem(masks=False),
        "Closed-set": FakeSystem(["dress"], attention=False),
    }
    openers = {name: lambda system=system: system for name, system in systems.items()}
    found = figures_of(folder / "reproduction", folder / "data", folder / "out", 3, openers)
    return {figure.paper: figure for figure in found}, folder, systems


def picture(made, paper):
    figures, folder, _ = made
    return np.asarray(Image.open(folder / "out" / figures[paper].file).convert("RGB")).astype(int)


def near(pixels, wanted, tolerance=6):
    """Number of pixels of a colour, which the palette may have moved a little."""
    return int((np.abs(pixels - np.array(wanted)).max(axis=-1) <= tolerance).sum())


def ranked(*concepts):
    """(photo, concept) of the pairs that are there, the worst first."""
    pairs = [(n, c) for n in range(PHOTOS - ABSENT) for c in concepts]
    return sorted(pairs, key=lambda pair: iou(*pair))


def pair(value, photo="a", concept="dress", area=0.1):
    return Pair(photo, concept, "mask", "object", value, area)


# What is shown


def test_pairs_lie_at_shares_of_the_ranking_by_iou():
    pairs = [pair(value / 10, concept=str(value)) for value in (7, 3, 9, 1, 5)]
    assert [(s, p.concept) for s, p in at_shares(pairs, (0.25, 0.5, 0.75))] == [
        (0.25, "3"),
        (0.5, "5"),
        (0.75, "7"),
    ]
    assert [p.concept for _, p in at_shares(pairs[:1], (0.25, 0.5, 0.75))] == ["7"]  # once
    assert at_shares([], (0.5,)) == []


def test_equal_ious_are_ordered_by_photo_so_that_the_choice_is_always_the_same():
    pairs = [pair(0.5, photo) for photo in "cab"]
    assert at_shares(pairs, (0.5,)) == at_shares(pairs[::-1], (0.5,)) == [(0.5, pairs[2])]


def test_the_worst_are_the_lowest_ious_with_other_concepts_and_photos():
    pairs = [
        pair(0.0, "a", "hair", area=0.1),
        pair(0.0, "b", "sky", area=0.3),  # the larger wrong mask first
        pair(0.0, "b", "cape", area=0.2),  # the photo is shown already
        pair(0.1, "c", "sky"),  # the concept is shown already
        pair(0.2, "d", "dress"),
    ]
    assert [p.concept for p in worst(pairs, 3)] == ["sky", "hair", "dress"]
    assert len(worst(pairs, 9)) == 3


def test_concepts_are_spread_over_the_ranking_by_mean_iou():
    pairs = [pair(n / 20 + d, concept=f"c{n}") for n in range(9) for d in (0, 0.2)]
    assert spread_concepts(pairs, 3) == ["c1", "c4", "c7"]  # the middles of thirds: neither worst nor best
    assert spread_concepts(pairs[:2], 3) == ["c0"]
    assert spread_concepts([], 3) == []


def test_the_examples_file_gives_present_pairs_and_the_extreme_scores(tmp_path):
    write_examples(tmp_path / "new" / "examples.csv")
    found = read_examples(tmp_path / "new" / "examples.csv")
    assert len(found.pairs) == (PHOTOS - ABSENT) * len(CONCEPTS)
    assert {p.photo for p in found.pairs} == {f"{n}.png" for n in range(PHOTOS - ABSENT)}
    assert [one.photo for one in found.highest["sky"]] == ["0.png", "1.png", "2.png"]
    assert [one.photo for one in found.lowest["sky"]] == ["9.png", "10.png", "11.png"]
    assert [one.there for one in found.highest["sky"] + found.lowest["sky"]] == [True] * 3 + [False] * 3


def test_a_broken_examples_file_is_one_line(tmp_path):
    file = tmp_path / "examples.csv"
    with pytest.raises(UserError, match="examples.csv: cannot be read"):
        read_examples(file)
    file.write_text("photo,concept\n")
    with pytest.raises(UserError, match="expected a column level"):
        read_examples(file)
    file.write_text("photo,concept,level,kind,truth,iou,area,score\na,b,mask,object,1,half,,\n")
    with pytest.raises(UserError, match="line 2: expected numbers"):
        read_examples(file)


# The figures


def test_every_figure_of_the_paper_is_there_in_its_order_and_small(made):
    figures, folder, _ = made
    assert list(figures) == PAPER
    sizes = [(folder / "out" / figure.file).stat().st_size for figure in figures.values()]
    assert max(sizes) <= 150_000 and sum(sizes) <= 2_000_000
    assert len(list((folder / "out").iterdir())) == len(PAPER)  # nothing half-written beside
    assert all(figure.title and figure.caption for figure in figures.values())


@pytest.mark.parametrize(
    ("paper", "concepts", "shares"),
    [
        ("supplement, Fig. 6", ["dress"], (0.1, 0.25, 0.5, 0.75, 0.9)),
        ("supplement, Fig. 12", ["cape"], (0.1, 0.25, 0.5, 0.75, 0.9)),
        ("supplement, Fig. 11", ["striped", "walking"], (0.1, 0.25, 0.5, 0.75, 0.9)),
        ("Fig. 4", ["dress", "hair", "sky"], (0.1, 0.25, 0.5, 0.75, 0.9)),
    ],
)
def test_the_photos_shown_are_those_that_the_caption_says(made, paper, concepts, shares):
    figures, _, _ = made
    said = figures[paper].caption
    assert "10, 25, 50, 75 and 90 %" in said and f"{len(concepts) * (PHOTOS - ABSENT)} pairs" in said
    ranking = ranked(*concepts)
    chosen = {ranking[round(share * (len(ranking) - 1))][0] for share in shares}
    pixels = picture(made, paper)
    for number in range(PHOTOS):
        assert (near(pixels, colour(number)) > 160 * 120 * 0.9) == (number in chosen), number


def test_quartiles_of_each_kind_stand_in_figure_5(made):
    figures, folder, _ = made
    examples = read_examples(folder / "reproduction" / "seed-3" / "scores" / "Ours" / "examples.csv")
    plan = next(plan for plan in make_plans(examples, False) if plan.paper == "Fig. 5")
    for kind, concept in (("object", "dress"), ("part", "hair"), ("stuff", "sky")):
        rows = [entries for label, entries in plan.rows if label[1] == kind]
        ranking = ranked(concept)
        expected = [ranking[round(share * (len(ranking) - 1))] for share in (0.25, 0.5, 0.75)]
        assert [(int(row[0][0].photo.split(".")[0]), row[0][0].concept) for row in rows] == [
            (number, "") for number, _ in expected
        ]
        assert {cell.concept for row in rows for cell, _ in row[1:]} == {concept}
    assert "25, 50 and 75 %" in figures["Fig. 5"].caption


def test_a_picture_has_the_size_of_its_panels(made):
    """Supplement, Fig. 6: labels, then photo, truth, ours and closed set, 160 x 120 px each, in five rows."""
    height, width, _ = picture(made, "supplement, Fig. 6").shape
    assert width == 112 + 4 * (161 + 8)
    assert height == 8 + 17 + 5 * (120 + 15 + 8)
    # Scores: six photos of 96 x 72 px for each of two concepts.
    assert picture(made, "supplement, Fig. 4").shape[0] == 8 + 17 + 2 * (72 + 15 + 8)


def test_columns_of_systems_that_are_missing_or_silent_are_left_out_and_named(made):
    figures, _, _ = made
    assert figures["Fig. 4"].caption.endswith(
        "Not trained here: Original, Original-Finetuned, Refined-noNeg."
    )
    assert figures["supplement, Fig. 6"].caption.endswith(
        "Not trained here: FCIS, Saliency-DSS, Mask-R-CNN-star."
    )
    box = figures["supplement, Fig. 7 to 10"].caption
    assert box.endswith(
        "Not trained here: Saliency-DSS, Mask-R-CNN-star. Has no answer for these concepts: Closed-set."
    )
    assert picture(made, "supplement, Fig. 7 to 10").shape[1] == 112 + 3 * (161 + 8)


def test_a_system_is_asked_once_for_each_photo(made):
    _, _, systems = made
    for system in systems.values():
        photos = [photo for photo, _ in system.asked]
        assert len(photos) == len(set(photos)) > 0
        assert all(len(names) == len(set(names)) > 0 for _, names in system.asked)


def test_masks_truth_and_attention_are_drawn_from_the_right_answers(made):
    """The median dress: the truth is the top half of the photo, our mask the left half."""
    number, _ = ranked("dress")[round(0.5 * (PHOTOS - ABSENT - 1))]
    pixels = picture(made, "supplement, Fig. 6")
    top = 8 + 17 + 2 * (120 + 15 + 8)
    panels = [pixels[top : top + 120, 112 + c * 169 : 112 + c * 169 + 160] for c in range(4)]
    inside = [[near(half, colour(number)) for half in _halves(panel)] for panel in panels]
    full = 80 * 60 * 0.9  # of a quarter; the line around takes some
    quarters = [[count > full for count in counts] for counts in inside]
    all_, truth = [True] * 4, [True, True, False, False]
    left = [True, False, True, False]
    assert quarters == [all_, truth, left, left]


def _halves(panel):
    """Quarters: top left, top right, bottom left, bottom right."""
    return panel[:60, :80], panel[:60, 80:], panel[60:, :80], panel[60:, 80:]


def test_attention_is_stretched_and_the_truth_drawn_around(made):
    number, _ = ranked("dress", "hair", "sky")[round(0.1 * (3 * (PHOTOS - ABSENT) - 1))]
    pixels = picture(made, "Fig. 4")
    assert near(pixels[25:145, 112:272], colour(number)) > 160 * 120 * 0.9
    attention = pixels[25:145, 112 + 169 : 112 + 169 + 160]
    left, right = attention[80:, 1], attention[80:, -2]
    assert (left[:, 2] >= left[:, 0]).all() and left.sum(axis=1).max() < 200  # dark blue
    assert (right[:, 0] > right[:, 2] + 50).all()  # red
    assert near(attention[58:62, 10:150], (255, 255, 255), 20) > 100  # the lower edge of the truth


def test_the_worst_cases_are_the_lowest_of_each_level(made):
    figures, _, _ = made
    pixels = picture(made, "supplement, Fig. 14")
    lowest = ranked("dress")[0][0]
    assert near(pixels[25:145, 112:272], colour(lowest)) > 160 * 120 * 0.9
    # One row for each of mask (one concept) and zero, two for box and image.
    assert pixels.shape[0] == 8 + 17 + 6 * (120 + 15 + 8)
    assert "lowest IoU" in figures["supplement, Fig. 14"].caption


def test_overlap_ratios_are_of_the_concepts_that_occur_together(made):
    from cmask_tf.evaluation.figures.training_data import overlaps
    from cmask_tf.vocabulary.artefact import Vocabulary

    _, folder, _ = made
    vocabulary = Vocabulary.load(folder / "reproduction" / "vocabulary")
    names, matrix = overlaps(folder / "reproduction" / "records", vocabulary)
    assert names == ["hair", "sky"]  # the dress is always alone
    # |hair & sky| is 1/4 in one photo, 1/2 in the other; hair covers 1/2 of both, sky 1/2 and all.
    np.testing.assert_allclose(matrix, [[1, 0.75], [0.5, 1]], rtol=1e-5)
    assert "2 box-supervised concepts" in made[0]["supplement, Fig. 2"].caption


def test_a_training_photo_with_the_median_number_of_names_stands_for_its_set(made):
    pixels = picture(made, "Fig. 3")
    photos = [pixels[25:145, left : left + 160] for left in (8, 8 + 169, 8 + 2 * 169)]
    # tags: 1, 3 and 5 names; boxes: 2, 2 and 1, so that the first of the two with most is the median.
    grays = [int(np.median(photo)) for photo in photos]
    assert grays == pytest.approx([80, 0, 160], abs=6)


# Other data


def run(tmp_path, concepts=CONCEPTS, info=None, systems=None):
    write_data(tmp_path / "data", concepts, info)
    write_reproduction(tmp_path / "reproduction", tmp_path / "data", concepts=concepts)
    systems = systems or {"Ours": FakeSystem}
    found = figures_of(tmp_path / "reproduction", tmp_path / "data", tmp_path / "out", 3, systems)
    return {figure.paper: figure for figure in found}


def test_data_without_attributes_or_a_level_say_so(tmp_path):
    figures = run(tmp_path, {"dress": ("mask", "object")})
    assert list(figures) == PAPER
    words = figures["supplement, Fig. 13"].caption
    assert "None of the test concepts is an attribute." in words and "is an action." in words
    assert figures["supplement, Fig. 12"].caption == "No test photo shows a zero-level concept."
    assert all((tmp_path / "out" / figure.file).is_file() for figure in figures.values())


def test_columns_stand_as_in_the_paper_and_others_after_them(made):
    _, folder, _ = made
    examples = read_examples(folder / "reproduction" / "seed-3" / "scores" / "Ours" / "examples.csv")
    plans = {p.paper: p for p in make_plans(examples, False, ["another", "FCIS", "Mask-R-CNN-star"])}
    columns = {paper: [name for name, _ in plan.columns] for paper, plan in plans.items()}
    assert columns["supplement, Fig. 6"] == [
        "photo", "truth", "FCIS", "Ours", "Saliency-DSS", "Mask-R-CNN-star", "Closed-set", "another"
    ]  # fmt: skip
    for paper in ("Fig. 5", *(f"supplement, Fig. {n}" for n in ("7 to 10", 11, 12))):
        assert columns[paper] == [
            "photo", "truth", "Ours", "Saliency-DSS", "Mask-R-CNN-star", "Closed-set", "another", "FCIS"
        ]  # fmt: skip


def test_a_detector_has_a_column_of_its_own(tmp_path):
    figures = run(tmp_path, systems={"Ours": FakeSystem, "FCIS": FakeSystem})
    width = Image.open(tmp_path / "out" / figures["supplement, Fig. 6"].file).width
    assert width == 112 + 4 * 169  # photo, truth, FCIS, ours
    assert figures["Fig. 5"].caption.endswith("Not trained here: Saliency-DSS, Mask-R-CNN-star, Closed-set.")


def test_pseudo_ground_truth_is_called_so(tmp_path, made):
    figures = run(tmp_path, info={"pseudo": True})
    assert "were made from boxes" in figures["supplement, Fig. 1"].caption
    assert "are exact" in made[0]["supplement, Fig. 1"].caption
    sizes = [Image.open(folder / "out" / "supp-1-pseudo.png").width for folder in (tmp_path, made[1])]
    assert sizes == [112 + 2 * 169, 112 + 3 * 169]


def test_scores_of_other_data_are_one_line(tmp_path):
    write_data(tmp_path / "data")
    write_reproduction(tmp_path / "reproduction", tmp_path / "data")
    file = tmp_path / "data" / "coco" / "concept_masks_test.json"
    content = json.loads(file.read_text())
    content["annotations"] = content["annotations"][:6]
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"concept_masks_test.json: \d+.png: expected a mask of"):
        figures_of(tmp_path / "reproduction", tmp_path / "data", tmp_path / "out", 3, {"Ours": FakeSystem})
    assert not (tmp_path / "out").exists()


def test_scores_of_a_photo_without_truth_are_one_line(tmp_path):
    write_data(tmp_path)
    masks = tmp_path / "coco" / "concept_masks_test.json"
    with pytest.raises(UserError, match="expected the photo 77.png, which examples.csv names"):
        gather([Cell("photo", "77.png")], tmp_path / "images" / "test", masks, {})


def test_a_turned_photos_truth_is_turned_along(tmp_path):
    write_data(tmp_path)
    images, exif = tmp_path / "images" / "test", Image.Exif()
    exif[0x0112] = 5  # a person sees rows and columns exchanged
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(images / "0.png", exif=exif)
    cells = [Cell("truth", "0.png", "dress"), Cell("mask", "0.png", "dress", "Ours")]
    found = gather(cells, images, tmp_path / "coco" / "concept_masks_test.json", {"Ours": FakeSystem})
    for cell in cells:  # the top half became the left one; the fake's mask is the left half of what it sees
        pixels = found[cell].pixels
        assert pixels.shape == (160, 120, 3)
        assert (pixels[:, :58] == 90).mean() > 0.9 and (pixels[:, 62:] == 236).all()


def test_what_a_seed_has_finished_can_be_opened(tmp_path):
    with pytest.raises(UserError, match="model: no such model directory"):
        make_figures(tmp_path, tmp_path, tmp_path / "out", 0)
    from segmenter_fixture import smallest_model

    smallest_model(tmp_path / "model")
    for folder in ("refine", "closed-set"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("{}")
    (tmp_path / "saliency").mkdir()  # unfinished
    (tmp_path / "detections").mkdir()
    (tmp_path / "detections" / "FCIS.json").write_text("[]")
    networks = ["Ours", "Closed-set", "Original-Finetuned", "Refined"]
    assert list(open_systems(tmp_path, tmp_path / "masks.json")) == [*networks, "FCIS"]
