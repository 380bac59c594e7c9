"""Several sources in one spool: photos merge by file, and their sizes must agree."""

import json

from PIL import Image

from cmask_tf.data.coco import fill_coco
from cmask_tf.data.filling import through_spool
from cmask_tf.data.open_images import fill_open_images
from cmask_tf.data.visual_genome import fill_visual_genome
from cmask_tf.faults import Faults


def write_sources(folder, width):
    """Boxes in photo 3 from Open Images, Visual Genome and COCO; the last two say that it is `width` wide."""
    Image.new("RGB", (10, 8)).save(folder / "3.jpg")
    (folder / "boxes.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\n" + "3,/m/1,0,0.5,0,1\n" * 30)
    (folder / "classes.csv").write_text("/m/1,Dog\n")
    size = {"width": width, "height": 8}
    thing = {"x": 0, "y": 0, "w": 5, "h": 8, "names": ["cat"]}
    (folder / "objects.json").write_text(json.dumps([{"image_id": 3, "objects": [thing]}]))
    (folder / "image_data.json").write_text(json.dumps([{"image_id": 3, **size}]))
    coco = {
        "images": [{"id": 3, "file_name": "3.jpg", **size}],
        "categories": [{"id": 1, "name": "cow"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 8, 0, 8]]}
        ],
    }
    (folder / "coco.json").write_text(json.dumps(coco))


def read_all(folder):
    faults = Faults()

    def fill(spool):
        fill_open_images(spool, folder / "boxes.csv", folder / "classes.csv", folder, faults)
        fill_visual_genome(spool, folder / "objects.json", folder / "image_data.json", folder, faults)
        fill_coco(spool, folder / "coco.json", folder, faults)

    found = through_spool(folder, faults, fill)
    return list(found.items(0)), found.faults


def test_a_photo_of_three_sources_is_one_record(tmp_path):
    write_sources(tmp_path, 10)
    (photo,), faults = read_all(tmp_path)
    assert [thing.name for thing in photo.objects][29:] == ["dog", "cat", "cow"]
    assert {thing.box for thing in photo.objects} == {(0, 0, 1, 0.5)}
    assert photo.objects[-1].mask["size"] == [8, 10]
    assert not faults.bad


def test_what_another_source_says_of_another_size_is_no_part_of_it(tmp_path):
    """Its masks would be decoded at the wrong size."""
    write_sources(tmp_path, 20)
    (photo,), faults = read_all(tmp_path)
    assert {thing.name for thing in photo.objects} == {"dog"}
    assert faults.bad == {"photo of another size than annotated": 2}
    assert faults.left_out == {"annotation of a photo that was left out": 2}
