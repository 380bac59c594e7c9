"""Takes a picture of the page with the astronaut and some words, in a real browser, for the README.

    python benchmarks/web_picture.py [--model DIR|PRESET] [--word NAME]... [--phone] --out FILE.png

Needs the extra [dev] (playwright) and Debian's chromium, or another browser that CHROMIUM names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cmask_tf import model_directory  # noqa: E402
from cmask_tf.cli import guarded  # noqa: E402
from cmask_tf.errors import UserError  # noqa: E402

PHOTO = ROOT / "docs" / "pictures" / "astronaut.jpg"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
PATIENCE = 300_000  # ms


def take(model: str | None, words: list[str], how: dict, out: Path) -> None:
    """Serves the page, drops the photo, types the words and writes the picture.

    Raises:
        UserError: no such model, or no browser.
    """
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if browser_path is None:
        raise UserError("no chromium on this machine: apt-get install chromium")
    directory = model_directory.locate(model)
    model_directory.check(directory)
    from playwright.sync_api import sync_playwright

    from cmask_tf.segmenter import ConceptSegmenter
    from cmask_tf.web import launch
    from cmask_tf.web.engines import LocalEngine
    from cmask_tf.web.scratch import Scratch

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    engine = LocalEngine(ConceptSegmenter.load(directory))
    for word in words:
        engine.vocabulary.index(word)
    with Scratch() as scratch, sync_playwright() as playwright:
        blocks = launch.start(engine, scratch, "127.0.0.1", port)
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        tab = browser.new_context(**how).new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(f"http://127.0.0.1:{port}")
        status = tab.locator("#cmask-status")
        tab.get_by_test_id("file-upload").first.set_input_files(PHOTO)
        status.get_by_text("of the words I know found").wait_for()
        box = tab.get_by_label("Words").first
        for number, word in enumerate(words, start=1):
            box.press_sequentially(word)
            box.press("Enter")
            status.get_by_text(f"of {number} words found").wait_for()
        box.blur()
        tab.wait_for_timeout(3000)  # until the pictures have arrived
        tab.screenshot(path=out, full_page=True)
        browser.close()
        blocks.close(verbose=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="DIR|PRESET", help="default: the package's preset")
    parser.add_argument("--word", metavar="NAME", action="append", default=[], help="again for more")
    parser.add_argument("--phone", action="store_true", help="as a phone shows it")
    parser.add_argument("--out", metavar="FILE.png", type=Path, required=True)
    args = parser.parse_args()
    return guarded(lambda: take(args.model, args.word, PHONE if args.phone else DESKTOP, args.out))


if __name__ == "__main__":
    sys.exit(main())
