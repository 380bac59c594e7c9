"""The whole reproduction: trains what is missing, scores, writes one report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from cmask_tf import config as configs
from cmask_tf.data.claim import write_json
from cmask_tf.errors import UserError
from cmask_tf.reproduce import ablations, run
from cmask_tf.reproduce.plan import Request, data_steps, model_steps, plan, report_step
from cmask_tf.reproduce.progress import Progress
from cmask_tf.reproduce.settings import differences

CLAIM = "reproduction.json"  # what OUT was begun with
_NEEDED = ("coco/concept_masks_val.json", "coco/concept_masks_test.json",
           "coco/instances_train.json", "tags/train.jsonl")  # fmt: skip


def reproduce(
    data: Path, out: Path, source: str, overrides: Sequence[str], seeds: int = 1, with_ablations: bool = False
) -> dict:
    """Makes OUT/report, after all that it needs; an interrupted reproduction goes on.

    Args:
        data: a data folder.
        out: OUT; see `plan` for what it receives.
        source, overrides: of the config, as `config.load` takes them; the config's seed is the first one.
        seeds: how many; more of them may be asked for later.
        with_ablations: also our own decisions, one at a time, of the first seed.

    Returns:
        What OUT/report/metrics.json holds.

    Raises:
        UserError: a folder that is not a data folder, an OUT of another config or other data, a step
            that failed.
    """
    config = configs.load(source, overrides)
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: expected 1 or more")
    _check_data(data)
    with run.alone(out) as lock:
        preset, changes = _claim(data, out, config, source, overrides)
        request = Request(data, out, config, tuple(range(config.seed, config.seed + seeds)))
        steps = plan(request)
        rows = ablations.rows(request, _other_design(preset, changes)) if with_ablations else []
        ablations.write_design(request, rows)
        steps += ablations.steps(request, rows)
        steps.append(report_step(request, with_ablations))
        run.run(steps, out, lock, Progress(len(steps)))
    return json.loads(steps[-1].writes.read_text(encoding="utf-8"))


def train(data: Path, out: Path, source: str, overrides: Sequence[str]) -> Path:
    """Trains the three stages of one seed, and nothing else; an interrupted training goes on.

    Args:
        data, out, source, overrides: as in `reproduce`, whose OUT serves, too. No test photo is read.

    Returns:
        The model directory.

    Raises:
        UserError: as `reproduce`.
    """
    config = configs.load(source, overrides)
    _check_data(data)
    with run.alone(out) as lock:
        _claim(data, out, config, source, overrides)
        request = Request(data, out, config, (config.seed,))
        steps = data_steps(request) + model_steps(request, config.seed)
        run.run(steps, out, lock, Progress(len(steps)))
    return steps[-1].writes


def _check_data(data: Path) -> None:
    for name in (*_NEEDED, "images/test"):
        if not (data / name).exists():
            raise UserError(
                f"{data / name}: missing; expected a data folder, as `cmask data world` writes it"
            )


def _claim(
    data: Path, out: Path, config: configs.Config, source: str, overrides: Sequence[str]
) -> tuple[str, list[str]]:
    """OUT belongs to one config and one data folder, whose annotations must stay as they are.

    Returns:
        The config's source and overrides, as they were when OUT was begun.
    """
    mine = {
        "annotations": {name: _checksum(data / name) for name in _NEEDED},
        "source": source,
        "overrides": list(overrides),
    }
    claim, file = out / CLAIM, out / "config.json"
    if not claim.exists():
        strange = sorted(path.name for path in out.iterdir() if path.name != file.name)
        if strange:
            raise UserError(f"{out}: holds {strange[0]}; expected a new folder, or that of a reproduction")
        config.save(file)
        write_json(claim, mine, indent=1)
        return source, list(overrides)
    if configs.load(str(file)) != config:
        raise UserError(
            f"{out}: was begun with another config ({_difference(file, config)}); give another --out"
        )
    before = json.loads(claim.read_text())
    changed = [name for name in _NEEDED if before["annotations"].get(name) != mine["annotations"][name]]
    if changed:
        raise UserError(f"{out}: was begun with another {data / changed[0]}; give another --out")
    return before["source"], before["overrides"]


def _difference(file: Path, config: configs.Config) -> str:
    """The first field that differs: "refine.epochs: 11 there, 12 asked for"."""
    name, there, asked = differences(configs.load(str(file)), config)[0]
    return f"{name}: {there!r} there, {asked!r} asked for"


def _other_design(source: str, overrides: Sequence[str]) -> configs.Config | None:
    """The lite design at the width of the paper's, for `tiny`; other presets have none that compares."""
    return configs.load("tiny-lite", overrides) if source == "tiny" else None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
