"""`cmask doctor`: what is installed here, what it runs on, and whether the package's presets are whole."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from cmask_tf import presets
from cmask_tf.errors import UserError

PACKAGE = "cmask-tf"


def add_parser(subparsers) -> None:
    """Adds `cmask doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="print versions, devices, extras, and whether the presets are whole",
        description="Prints what a report of a problem should hold: versions, devices, which extras are "
        "there, and whether the presets of the package are whole. Exit code 2 where something is wrong.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args) -> None:
    """Prints the findings, then complains of the first that has to be put right."""
    if _version(PACKAGE) is None:
        raise UserError(f"{PACKAGE}: not installed in this environment; pip install it, or -e its source")
    extras = missing()
    found: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "system": platform.platform(), **versions()},
        "extras": extras,
        "presets": {name: damage(name) for name in presets.names()},
        # A TensorFlow that is not there, or does not load, is told by what stands above.
        "devices": [] if extras.get("") else devices(),
    }
    print(json.dumps(found, indent=2) if args.json else report(found))
    for name, problem in found["presets"].items():
        if problem:
            raise UserError(f"preset {name}: {problem}; install {PACKAGE} again")
    if extras.get(""):
        raise UserError(f"{PACKAGE}: needs {', '.join(extras[''])}; install it again")


def report(found: dict) -> str:
    """The findings as lines for a person."""
    lines = [f"{name:28} {version}" for name, version in found["versions"].items()]
    lines += [f"{'device':28} {device}" for device in found["devices"]]
    for extra, lacking in found["extras"].items():
        state = "there" if not lacking else f"not there: {', '.join(lacking)}"
        lines.append(f"{f'extra [{extra}]' if extra else 'what every command needs':28} {state}")
    lines += [f"{f'preset {name}':28} {problem or 'whole'}" for name, problem in found["presets"].items()]
    if not found["presets"]:
        lines.append(f"{'presets':28} none")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of this package and of what it needs without any extra, as far as they are there."""
    names = [PACKAGE, *(need.name for need in _needs() if not need.marker)]
    return {name: version for name in names if (version := _version(name))}


def missing() -> dict[str, list[str]]:
    """Extra -> its requirements that are not there, or in another version; "" stands for no extra."""
    extras = ["", *metadata.metadata(PACKAGE).get_all("Provides-Extra", [])]
    return {extra: [str(need) for need in _required(extra) if not _is_there(need)] for extra in extras}


def damage(name: str) -> str | None:
    """What is wrong with a preset's files; None where nothing is."""
    try:
        presets.verify(presets.locate(name))
    except (UserError, OSError) as error:
        return str(error)
    return None


def devices() -> list[str]:
    """What TensorFlow computes on."""
    import tensorflow as tf

    found = []
    for device in tf.config.list_physical_devices():
        about = tf.config.experimental.get_device_details(device).get("device_name")
        cores = f"{os.cpu_count()} cores" if device.device_type == "CPU" else None
        found.append(" ".join(filter(None, (device.device_type, about or cores))))
    return found


def _needs() -> list[Requirement]:
    return [Requirement(text) for text in metadata.requires(PACKAGE) or ()]


def _required(extra: str) -> list[Requirement]:
    """What an extra asks for beyond what every command needs, that of the extras it takes in among it."""
    found: dict[str, Requirement] = {}
    for need in _needs():
        applies = need.marker.evaluate({"extra": extra}) if need.marker else not extra
        if not applies or (extra and need.marker and need.marker.evaluate({"extra": ""})):
            continue
        within = [need]
        if need.name == PACKAGE:
            within = [one for other in sorted(need.extras) for one in _required(other)]
        found |= {one.name: Requirement(str(one).partition(";")[0]) for one in within}
    return list(found.values())


def _is_there(need: Requirement) -> bool:
    version = _version(need.name)
    if version is None or not need.specifier.contains(version, prereleases=True):
        return False
    return all(map(_is_there, _of_extras(need)))


def _of_extras(need: Requirement) -> list[Requirement]:
    """What the extras of another package ask for: the CUDA libraries of tensorflow[and-cuda]."""
    found = map(Requirement, (metadata.requires(need.name) or ()) if need.extras else ())
    return [
        one
        for one in found
        if one.marker and any(one.marker.evaluate({"extra": extra}) for extra in need.extras)
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
