"""A finished model with another mixing (4.4): the networks stay, theta and thresholds are chosen anew.

python -m cmask_tf.reproduce.remix MODEL --neighbours pmi --data RECORDS --out DIR
python -m cmask_tf.reproduce.remix MODEL --theta 1 --data RECORDS --out DIR
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from cmask_tf import config as configs
from cmask_tf import model_directory
from cmask_tf.errors import UserError


@dataclass(frozen=True)
class _Finished:
    """What calibration asks of a run."""

    config: configs.Config
    vocabulary: object
    concepts: list[dict]
    records: Path

    def record_set(self, name: str):
        from cmask_tf.data.records import RecordSet

        return RecordSet.open(self.records / name)


def with_theta(model: Path, theta: float, out: Path) -> None:
    """A copy of a model directory in which theta is given, for image-level and for unknown words."""
    mixing = model_directory.load_json(model / "mixing.json")
    mixing["theta"] = {way: theta for way in mixing["theta"]}
    model_directory.save_changed(model, out, texts={"mixing": mixing})


def with_neighbours(model: Path, neighbours: str, records: Path, out: Path) -> None:
    """A copy of a model directory with other neighbours p(q), and what is chosen after them.

    Args:
        model: a finished model directory.
        neighbours: "pmi" or "second_order".
        records: what `cmask data prepare` wrote; its validation set is used.
        out: where.
    """
    from cmask_tf.training.calibration import calibrate

    config = model_directory.load_config(model)
    config = replace(config, mixing=configs.Mixing(neighbours))
    concepts, parts = model_directory.load_concepts(model), model_directory.load_parts(model)
    run = _Finished(config, model_directory.load_vocabulary(model), concepts, records)
    mixing, thresholds = calibrate(run, parts)
    model_directory.save(
        out,
        config,
        run.vocabulary,
        concepts,
        parts,
        mixing=mixing,
        thresholds=thresholds,
        provenance=model_directory.load_provenance(model),
    )


def main() -> int:
    """Does what the arguments say; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    changed = parser.add_mutually_exclusive_group(required=True)
    changed.add_argument("--neighbours", choices=("pmi", "second_order"))
    changed.add_argument("--theta", type=float)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        if args.neighbours:
            with_neighbours(args.model, args.neighbours, args.data, args.out)
        else:
            with_theta(args.model, args.theta, args.out)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
