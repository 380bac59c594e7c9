"""`cmask doctor`: versions, devices, extras, and whether the presets are whole."""

import json
from email.message import Message
from importlib import metadata

import pytest

from cmask_tf import presets
from cmask_tf.cli import doctor, main
from cmask_tf.presets.packing import pack

NEEDS = [
    "numpy",
    "tensorflow <3,>=2.20",
    'grpcio >=1 ; extra == "serve"',
    'no-such-package ; extra == "serve"',
    'numpy >=999 ; extra == "train"',
    'cmask-tf[serve,train] ; extra == "all"',
]


@pytest.fixture
def installed(monkeypatch):
    """A package that asks for NEEDS."""
    about = Message()
    for extra in ("serve", "train", "all"):
        about["Provides-Extra"] = extra
    monkeypatch.setattr(metadata, "requires", lambda _: NEEDS)
    monkeypatch.setattr(metadata, "metadata", lambda _: about)


def test_what_is_there_is_told_with_its_version(no_presets, capsys):
    assert main(["doctor"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for name in ("cmask-tf", "tensorflow", "keras", "numpy"):
        assert told[name] == metadata.version(name)
    assert told["device"].startswith("CPU")
    assert told["presets"] == "none"


def test_an_extra_lacks_what_is_not_there_or_in_another_version(installed):
    found = doctor.missing()
    assert found == {
        "": [],
        "serve": ["no-such-package"],
        "train": ["numpy>=999"],
        "all": ["no-such-package", "numpy>=999"],
    }
    assert "extra [serve]                not there: no-such-package" in doctor.report(
        {"versions": {}, "devices": [], "extras": found, "presets": {}}
    )


def test_versions_are_those_of_what_every_command_needs(installed):
    assert set(doctor.versions()) == {"cmask-tf", "numpy", "tensorflow"}


def test_what_every_command_needs_and_is_not_there_is_an_error(installed, monkeypatch, capsys):
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such-package >=2"])
    assert main(["doctor", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["extras"][""] == ["no-such-package>=2"]
    assert err == "cmask: error: cmask-tf: needs no-such-package>=2; install it again\n"


def test_a_damaged_preset_is_named(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    pack(model, tmp_path / "street")
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["presets"] == {"street": None}
    with (tmp_path / "street" / "mixing.json").open("a") as file:
        file.write(" ")
    assert main(["doctor"]) == 2
    out, err = capsys.readouterr()
    assert f"preset street                {tmp_path}/street/mixing.json: damaged" in out
    assert err.startswith(f"cmask: error: preset street: {tmp_path}/street/mixing.json: damaged")


def test_a_package_that_is_not_installed_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "PACKAGE", "no-such-package")
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("cmask: error: no-such-package: not installed")
