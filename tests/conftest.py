"""What every test shares: quiet TensorFlow, the real photos where they are, no silent skips in CI."""

import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
gc.set_threshold(50_000, 20, 20)  # of the objects that TensorFlow's tracing makes few are garbage

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def ccp() -> Path:
    """The Clothing Co-Parsing data folder, where it lies beside the checkout."""
    folder = SHARED / "data" / "ccp"
    if not folder.is_dir():
        pytest.skip("no ../shared/data/ccp beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tate() -> Path:
    """The Tate tag corpus, where it lies beside the checkout."""
    file = SHARED / "data" / "tags" / "tate.jsonl"
    if not file.is_file():
        pytest.skip("no ../shared/data/tags beside the checkout")
    return file


def pytest_collection_finish():
    """TensorFlow, Keras and the tests are never garbage: only what comes after them is looked at."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report):
    """Turns a skip into a failure when CI asks for it and the reason is not on the committed list."""
    if not (report.skipped and os.environ.get("CMASK_FORBID_SKIPS")) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
    lines = (ROOT / "tests" / "allowed_skips.txt").read_text().splitlines()
    if not any(reason.startswith(line) for line in lines if line and not line.startswith("#")):
        report.outcome = "failed"
        report.longrepr = f"skipped, and tests/allowed_skips.txt does not allow it: {reason}"
