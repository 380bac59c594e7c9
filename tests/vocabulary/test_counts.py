"""Streamed co-occurrence counts."""

import json
import os

import numpy as np
import pytest

from cmask_tf.errors import UserError
from cmask_tf.faults import Faults
from cmask_tf.vocabulary import counts as counting
from cmask_tf.vocabulary import pairs, tag_files, workers
from cmask_tf.vocabulary.counts import Spelling, count, count_files

IMAGES = [["Hat", "dog"], ["hat", "hat", "HAT"], ["dog", "red-hat"], [], ["red hat", "hat", "dog"], [" "]]


def test_counts_by_hand():
    counts = count(IMAGES)
    assert counts.names == ["dog", "hat", "red hat"]  # equal counts go by name
    assert counts.single.dtype == np.int64 and counts.single.tolist() == [3, 3, 2]
    assert counts.pairs.toarray().tolist() == [[0, 2, 2], [2, 0, 1], [2, 1, 0]]
    assert counts.documents == 6


def test_rare_tags_are_left_out_but_their_images_count():
    counts = count(IMAGES, min_count=3)
    assert counts.names == ["dog", "hat"]
    assert counts.pairs.toarray().tolist() == [[0, 2], [2, 0]]
    assert counts.documents == 6


@pytest.mark.parametrize("block", [1, 7, 50])
def test_any_size_of_part_gives_the_same_counts(monkeypatch, block):
    rng = np.random.default_rng(0)
    images = [[f"tag {t}" for t in rng.integers(0, 12, rng.integers(0, 6))] for _ in range(80)]
    whole = count(images)
    monkeypatch.setattr(counting, "PART_IMAGES", block)
    parts = count(iter(images))
    assert parts.names == whole.names and (parts.single == whole.single).all()
    assert (parts.pairs != whole.pairs).nnz == 0


def test_no_images_give_no_names():
    counts = count([])
    assert counts.names == [] and counts.documents == 0 and counts.pairs.shape == (0, 0)


def random_images(images=300, words=40):
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, words + 1)
    sizes = rng.integers(0, 12, images)
    return [[f"w{t}" for t in rng.choice(words, n, p=chance / chance.sum())] for n in sizes]


def same_counts(a, b):
    table = a.pairs.dtype == b.pairs.dtype == np.int32 and (a.pairs != b.pairs).nnz == 0
    return a.names == b.names and (a.single == b.single).all() and a.documents == b.documents and table


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("min_count", [1, 25])
def test_pairs_equal_the_product_of_the_image_by_tag_matrix(monkeypatch, small, min_count):
    if small:  # many tasks and pieces, and rows as they are numbered from 65,536 words on
        for name, value in (("TASK_TAGS", 90), ("GATHER", 7), ("_kind", lambda words: np.int32)):
            monkeypatch.setattr(pairs, name, value)
    images = random_images()
    counts = count(images, min_count)
    has = np.array([[name in tags for name in counts.names] for tags in images], np.int64)
    product = has.T @ has
    assert counts.single.tolist() == product.diagonal().tolist()
    np.fill_diagonal(product, 0)
    np.testing.assert_array_equal(counts.pairs.toarray(), product)
    assert counts.pairs.dtype == np.int32 and counts.pairs.has_canonical_format
    assert (len(counts.names) < 40) == (min_count > 1)


def test_tags_that_mean_the_same_are_counted_as_one():
    same = Spelling(same={"handbag": "bag", "purse": "bag"})
    counts = count([["Handbag", "bag"], ["purse"], ["bag", "hat"]], spelling=same)
    assert counts.names == ["bag", "hat"] and counts.single.tolist() == [3, 1]


NUMBERS = [["dog", "Dogs", "man"], ["dogs", "men", "red hats"], ["dog", "red hat"], ["man"], ["dog"]] * 3


def test_singular_and_plural_are_counted_as_the_more_frequent_and_once_in_an_image(monkeypatch):
    for size in (1, 2, 100):
        monkeypatch.setattr(counting, "PART_IMAGES", size)
        counts = count(NUMBERS)
        assert counts.names == ["dog", "man", "red hat"] and counts.single.tolist() == [12, 9, 6]
        assert counts.pairs.toarray().tolist() == [[0, 6, 6], [6, 0, 3], [6, 3, 0]]
        assert counts.plurals == {"dogs": "dog", "men": "man", "red hats": "red hat"}


def test_the_minimum_count_is_that_of_singular_and_plural_together():
    counts = count(NUMBERS, 6)
    assert counts.names == ["dog", "man", "red hat"]
    counts = count(NUMBERS, 7)
    assert counts.names == ["dog", "man"] and set(counts.plurals.values()) == {"dog", "man"}


def test_processes_count_singular_and_plural_as_one_does(monkeypatch, tmp_path):
    files, expected = shards(tmp_path, NUMBERS), count(NUMBERS)
    monkeypatch.setattr(counting, "parts", lambda files: tag_files.parts(files, 99))
    found = count_files(files, processes=2)
    assert same_counts(found, expected) and found.plurals == expected.plurals


def test_without_folding_every_spelling_is_a_tag_of_its_own():
    counts = count([[" Dog ", "dog"], ["dogs", "Dog", " "]], spelling=Spelling(folded=False))
    assert counts.names == ["Dog", "dog", "dogs"] and counts.single.tolist() == [2, 1, 1]
    assert counts.plurals == {}


def shards(folder, images, number=3):
    for shard in range(number):
        lines = [json.dumps({"image": "x", "tags": tags}) + "\n" for tags in images[shard::number]]
        (folder / f"{shard}.jsonl").write_text("".join(lines))
    return sorted(folder.iterdir())


def test_files_give_the_counts_of_their_lines_whatever_the_processes_and_parts(monkeypatch, tmp_path):
    images = random_images()
    files, expected = shards(tmp_path, images), count(images, 2)
    assert same_counts(count_files(files, 2), expected)
    monkeypatch.setattr(counting, "parts", lambda files: tag_files.parts(files, 999))
    assert same_counts(count_files(files, 2, processes=1), expected)
    assert same_counts(count_files(files, 2, processes=2), expected)


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_lines_are_counted_over_all_parts(monkeypatch, tmp_path, processes):
    monkeypatch.setattr(counting, "parts", lambda files: tag_files.parts(files, 999))
    files, faults = shards(tmp_path, random_images()), Faults()
    with files[1].open("a") as file:
        file.write("bad\n" * 9)
    counts = count_files(files, faults=faults, processes=processes)
    assert counts.documents == faults.good == 300 and faults.bad == {"not JSON": 9}
    assert [example.split(": ")[0] for example in faults.examples["not JSON"]] == [
        f"{files[1]}:{n}" for n in range(101, 106)
    ]
    with pytest.raises(UserError, match=f"{files[1]}:101: not JSON"):
        count_files(files, processes=processes)


def test_a_bad_shard_among_many_good_ones_is_no_wrong_corpus(tmp_path):
    files, faults = shards(tmp_path, [["a", "b"]] * 30_000, 2), Faults()
    files[0].write_text("bad\n" * 1100)
    assert count_files(files, faults=faults).documents == 15_000
    assert faults.bad.total() == 1100


def test_a_corpus_with_more_than_a_tenth_bad_lines_is_an_error(tmp_path):
    files = shards(tmp_path, random_images(30))
    files[1].write_text("bad\n" * 9)
    with pytest.raises(UserError, match="1.jsonl:1: not JSON.*9 of 29 records are bad"):
        count_files(files, faults=Faults())


def test_more_tags_than_the_machine_can_hold_are_an_error_that_names_a_minimum_count(monkeypatch):
    pages = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 12 * 10**2}
    monkeypatch.setattr(counting.os, "sysconf", pages.get)
    images = random_images()
    with pytest.raises(UserError, match="40 tags: .* a minimum count of") as error:
        count(images)
    minimum = int(str(error.value).split("minimum count of ")[1].split()[0])
    assert len(count(images, minimum).names) <= 10 < len(count(images, minimum).names) + 4


def test_a_full_disk_is_told_before_pairs_are_counted(monkeypatch):
    usage = pairs.shutil.disk_usage
    monkeypatch.setattr(pairs.shutil, "disk_usage", lambda path: usage(path)._replace(free=99))
    with pytest.raises(UserError, match="temporary files take .* are free; see TMPDIR"):
        count(random_images())


def test_a_folder_that_takes_no_temporary_files_is_told(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(counting.np, "save", full)
    with pytest.raises(UserError, match="No space left on device.*TMPDIR"):
        count(IMAGES)


def test_a_process_that_is_killed_is_told():
    with pytest.raises(UserError, match="killed"):
        list(workers.results(os._exit, [(9,), (9,)], 2))
