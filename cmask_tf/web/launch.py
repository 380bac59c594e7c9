"""Serving the page: on the address that was asked for, with nothing sent or fetched elsewhere."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from pathlib import Path

from cmask_tf.errors import UserError
from cmask_tf.evaluation.review_page import load_gradio, plain_theme
from cmask_tf.web import page
from cmask_tf.web.engines import Engine
from cmask_tf.web.scratch import Scratch

MOST_VISITORS = 32  # whose photos are kept at a time; the one who was away longest is forgotten
MOST_UPLOAD = 256 << 20  # bytes of one file
_WAITING = 64  # questions of all visitors
# (package, path in it): public-domain photos that installed packages carry.
_EXAMPLES = (("skimage", "data/astronaut.png"), ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"))


def examples() -> list[Path]:
    """The example photos that are there."""
    found = []
    for package, name in _EXAMPLES:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or []:
            if (path := Path(folder) / name).is_file():
                found.append(path)
    return found


def start(engine: Engine, scratch: Scratch, host: str, port: int):
    """Serves the page from threads of its own; returns the `gradio.Blocks`, to be closed.

    Raises:
        UserError: gradio is not installed, or the port cannot be had.
    """
    # Before gradio is imported: its folder is otherwise one that all its pages on a machine share.
    os.environ["GRADIO_TEMP_DIR"] = str(scratch.path)
    gradio = load_gradio("cmask web")
    photos = examples()
    # A photo of 100 megapixels is refused by its header; that it is large need not be logged too.
    warnings.filterwarnings("ignore", "Image size", module="PIL")
    blocks = page.build(engine, scratch, gradio, photos)
    blocks.queue(max_size=_WAITING)
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            theme=plain_theme(gradio),
            css=page.CSS,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            allowed_paths=[str(path) for path in photos],
            max_file_size=MOST_UPLOAD,
            state_session_capacity=MOST_VISITORS,
        )
    except OSError as error:
        raise UserError(f"port {port}: {error}") from None
    scratch.keep()
    return blocks


def serve(engine: Engine, host: str, port: int) -> None:
    """Serves the page until it is interrupted."""
    with Scratch() as scratch:
        blocks = start(engine, scratch, host, port)
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}/ (Ctrl-C ends it)", flush=True)
        try:
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)
