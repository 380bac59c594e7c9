"""Our own decisions, one changed at a time, of the first seed; everything else is shared with it.

OUT/ablations/NAME/        what the change makes anew: vocabulary/, embedding/, refine/, model/
OUT/ablations/NAME/scores/Ours/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cmask_tf import config as configs
from cmask_tf.config import Config
from cmask_tf.reproduce.plan import (
    SYSTEMS,
    Request,
    Step,
    chain,
    data_steps,
    score_step,
    stage_step,
)

REMIX = "cmask_tf.reproduce.remix"
DESIGN = "design"


@dataclass(frozen=True)
class Row:
    """One changed decision.

    Attributes:
        name: of its folder.
        decision: what is decided, as the table names it.
        here: the value of the other tables.
        instead: the value of this row.
        config: of this row when it is another preset.
    """

    name: str
    decision: str
    here: str
    instead: str
    config: Config | None = None


def rows(request: Request, other_design: Config | None) -> list[Row]:
    """The decisions that can be turned round under this config; the design only where another compares."""
    config = request.config
    activation = _other(config.embedding.output_activation, "relu", "linear")
    neighbours = _other(config.mixing.neighbours, "pmi", "second_order")
    keep = config.refine.keep_positives
    found = [
        Row("ppmi", "PMI variant", "pmi", "ppmi"),
        Row("activation", "embedding.output_activation", config.embedding.output_activation, activation),
        Row("positives", "refine.keep_positives", str(keep).lower(), str(not keep).lower()),
        Row("neighbours", "mixing.neighbours", config.mixing.neighbours, neighbours),
        Row("theta-0", "theta (4.4)", "chosen on validation photos", "0"),
        Row("theta-1", "theta (4.4)", "chosen on validation photos", "1"),
    ]
    if other_design:
        found.append(Row(DESIGN, "design", config.name, other_design.name, other_design))
    return found


def steps(request: Request, rows: Sequence[Row]) -> list[Step]:
    """The steps of all rows; none without rows."""
    return [step for row in rows for step in _row_steps(request, row)]


def place(request: Request, row: Row) -> Path:
    """The folder of a row."""
    return request.out / "ablations" / row.name


def write_design(request: Request, rows: Sequence[Row]) -> None:
    """The config file of the other design, which its steps name."""
    for row in rows:
        if row.config:
            folder = place(request, row)
            folder.mkdir(parents=True, exist_ok=True)
            row.config.save(folder / "config.json")


def read_design(request: Request) -> Config | None:
    """The other design, as `write_design` wrote it; None without one."""
    file = request.out / "ablations" / DESIGN / "config.json"
    return configs.load(str(file)) if file.is_file() else None


def _row_steps(request: Request, row: Row) -> list[Step]:
    folder, seed = place(request, row), request.seeds[0]
    shared, vocabulary = request.seed_dir(seed), request.out / "vocabulary"
    same = [f"seed={seed}"]
    if row.name == "ppmi":
        made = data_steps(request, row.instead, folder)
        made += chain(request, folder, folder / "vocabulary", request.config_file, same)
    elif row.name == "activation":
        changes = [*same, f"{row.decision}={row.instead}"]
        made = chain(request, folder, vocabulary, request.config_file, changes)
    elif row.name == "positives":
        refine = stage_step(
            request, shared / "embedding", folder / "refine", [f"{row.decision}={row.instead}"]
        )
        made = [refine, stage_step(request, folder / "refine", folder / "model", [])]
    elif row.config:
        made = chain(request, folder, vocabulary, folder / "config.json", same)
    else:
        option = "--neighbours" if row.name == "neighbours" else "--theta"
        made = [_remixed(request, shared / "model", folder, option, row.instead)]
    return [*made, score_step(request, folder, "Ours", SYSTEMS["Ours"])]


def _remixed(request: Request, model: Path, folder: Path, option: str, value: str) -> Step:
    """The same networks with another mixing (4.4)."""
    records, result = request.out / "records", folder / "model"
    words = (REMIX, str(model), option, value, "--data", str(records), "--out", str(result))
    return Step(str(result.relative_to(request.out)), words, (model, records), result)


def _other(value: str, one: str, two: str) -> str:
    return two if value == one else one
