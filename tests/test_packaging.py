"""What setup.cfg promises whoever installs the package."""

import configparser
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cmask_tf.cli import needs

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def requirements(setup) -> list[Requirement]:
    texts = setup["options"]["install_requires"]
    texts += "".join(setup["options.extras_require"].values())
    return [Requirement(line) for line in texts.splitlines() if line]


def test_every_file_of_the_package_that_is_no_module_is_package_data(setup):
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "cmask_tf"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    promised = [
        f"{package.replace('.', '/')}/{pattern.strip()}"
        for package, patterns in setup["options.package_data"].items()
        for pattern in patterns.split(",")
    ]
    files = [name for name in listed if not name.endswith(".py")]
    assert files
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in promised)] == []


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in (ROOT / "cmask_tf").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_what_is_asked_for_is_pinned_within_what_is_allowed(setup):
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    versions = {pin.name.lower().replace("_", "-"): next(iter(pin.specifier)).version for pin in pins}
    for need in requirements(setup):
        if need.name != "cmask-tf":
            assert need.specifier.contains(versions[need.name.lower().replace("_", "-")]), need


def test_the_citation_is_of_this_version(setup):
    assert f"\nversion: {setup['metadata']['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_module_that_is_told_to_be_missing_belongs_to_an_extra_that_there_is(setup):
    assert set(needs._MODULES) - {""} <= set(setup["options.extras_require"])


def test_the_licences_name_everything_that_may_be_installed(setup):
    page = (ROOT / "docs" / "licences.md").read_text()
    missing = {need.name for need in requirements(setup) if need.name != "cmask-tf"}
    assert {name for name in missing if f"{name} " not in page and f"{name}," not in page} == set()
