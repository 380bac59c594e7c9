"""The page in a real browser: the whole path, bad files, two visitors at once, nothing fetched from outside.

It needs playwright (PyPI) and Debian's chromium, or another in CHROMIUM.
"""

import json
import os
import shutil
import socket
import zipfile
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright
from web_fixture import ToySegmenter, huge_png, png, red_and_green, zip_of

from cmask_tf.web import launch
from cmask_tf.web.engines import LocalEngine
from cmask_tf.web.scratch import Scratch

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 60_000  # ms: the machine may be busy
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def served():
    """(address, the toy) of a running page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    toy = ToySegmenter()
    with Scratch() as scratch:
        blocks = launch.start(LocalEngine(toy), scratch, "127.0.0.1", port)
        yield f"http://127.0.0.1:{port}", toy
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def visitor(browser, address, **how):
    """A visitor's page; at the end every address that it asked for must have been the page's own."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | how))
    context.set_default_timeout(PATIENCE)
    tab, asked = context.new_page(), []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.get_by_text("First drop a photo").wait_for()
    yield tab
    context.close()
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert asked and outside == []


def put(tab, path):
    """Gives a photo to the page, in the place of the one that is there."""
    if tab.get_by_label("Remove Image").count():
        tab.get_by_label("Remove Image").first.click()
        says(tab, "First drop a photo")
    tab.get_by_test_id("file-upload").first.set_input_files(path)


def says(tab, text):
    """Waits for a line of the page."""
    tab.locator("#cmask-status").get_by_text(text).wait_for()


def type_word(tab, text):
    box = tab.get_by_label("Words").first
    box.press_sequentially(text)
    box.press("Enter")


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.png"
    path.write_bytes(png(red_and_green()))
    return path


@pytest.mark.timeout(900)
def test_from_the_photo_to_the_files(browser, served, scene, tmp_path):
    address, toy = served
    with visitor(browser, address) as tab:
        put(tab, scene)
        says(tab, "scene.png, 80 x 60 pixels: 1 of the words I know found.")
        encoded = toy.encoded
        type_word(tab, "bag")
        says(tab, "none of 1 words found.")
        type_word(tab, "hare")
        says(tab, "I do not know 'hare'")
        tab.get_by_label("hair, not hare").check()
        says(tab, "none of 2 words found.")
        assert toy.encoded == encoded  # the photo is encoded once
        decoded = list(toy.decoded)
        slider = tab.get_by_label("range slider for There at all")
        slider.fill("0.2")
        says(tab, "1 of 2 words found.")
        assert toy.decoded == decoded  # without the model
        legend = tab.locator("#cmask-legend")
        assert "bag" in legend.inner_text() and "hair" in legend.inner_text()
        assert "not found" in legend.inner_text()
        for label in ("Mask, white is certain", "Attention, 8 x 8 cells", "Attention, 16 x 16 cells"):
            tab.get_by_text(label).wait_for()
        tab.get_by_role("button", name="Make files to download").click()
        says(tab, "Three files")
        for name in ("scene.masks.zip", "scene.coco.json"):
            with tab.expect_download() as download:
                tab.locator(f"a[download='{name}']").first.click()
            download.value.save_as(tmp_path / name)
    assert zipfile.ZipFile(tmp_path / "scene.masks.zip").namelist() == ["scene.bag.png"]
    assert len(json.loads((tmp_path / "scene.coco.json").read_text())["annotations"]) == 1


@pytest.mark.timeout(900)
def test_what_is_wrong_with_a_file_is_one_line_and_the_next_photo_works(browser, served, scene, tmp_path):
    address, _ = served
    files = {"notes.jpg": b"these are notes", "huge.png": huge_png(6000), "bomb.png": huge_png()}
    with visitor(browser, address) as tab:
        for (name, content), told in zip(
            files.items(),
            (
                "notes.jpg: not an image",
                "huge.png: 6000 x 6000 pixels",
                "bomb.png: more than 25000000 pixels",
            ),
            strict=True,
        ):
            (tmp_path / name).write_bytes(content)
            put(tab, tmp_path / name)
            says(tab, told)
        put(tab, scene)
        says(tab, "scene.png, 80 x 60 pixels")


@pytest.mark.timeout(900)
def test_two_visitors_at_once_see_their_own_photos(browser, served, scene, tmp_path):
    address, _ = served
    other = tmp_path / "other.png"
    other.write_bytes(png(red_and_green(40, 100)))
    with visitor(browser, address) as first, visitor(browser, address, **PHONE) as second:
        put(first, scene)
        put(second, other)
        says(first, "scene.png, 80 x 60 pixels")
        says(second, "other.png, 100 x 40 pixels")
        type_word(first, "dress")
        says(first, "scene.png, 80 x 60 pixels: 1 of 1 words")
        type_word(second, "hair")
        says(second, "other.png, 100 x 40 pixels: none of 1 words")
        assert "dress" not in second.locator("#cmask-legend").inner_text()
        # A phone shows the whole width, with nothing to scroll sideways.
        assert second.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.timeout(900)
def test_the_keyboard_is_enough(browser, served):
    address, _ = served
    with visitor(browser, address) as tab:
        for _ in range(20):  # Tab goes from one thing to the next
            tab.keyboard.press("Tab")
            if tab.evaluate("document.activeElement.innerText || ''").strip() == "grace hopper":
                break
        tab.keyboard.press("Enter")
        says(tab, "grace_hopper.jpg, 512 x 600 pixels")
        tab.keyboard.press("Tab")
        tab.keyboard.type("dre")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("Enter")
        says(tab, "of 1 words found.")


@pytest.mark.timeout(900)
def test_a_zip_of_photos(browser, served, scene, tmp_path):
    address, _ = served
    path = zip_of(tmp_path / "holiday.zip", {"a.png": scene.read_bytes(), "notes.jpg": b"notes"})
    with visitor(browser, address) as tab:
        tab.get_by_role("tab", name="Many photos").click()
        tab.get_by_test_id("file-upload").last.set_input_files(path)
        tab.get_by_text("holiday.zip").first.wait_for()
        box = tab.get_by_label("Words").last
        box.press_sequentially("dress")
        box.press("Enter")
        box.blur()  # closes the choices, which lie over the button
        tab.get_by_role("button", name="Segment all").click()
        status = tab.locator("#cmask-batch-status")
        status.get_by_text("1 of 2 photos segmented.").wait_for()
        status.get_by_text("Left out: notes.jpg: not an image").wait_for()
        with tab.expect_download() as download:
            tab.locator("a[download='holiday.masks.zip']").first.click()
        download.value.save_as(tmp_path / "masks.zip")
    assert sorted(zipfile.ZipFile(tmp_path / "masks.zip").namelist()) == ["a.dress.png", "masks.csv"]
