"""What the three trainers ask for on the command line; the same for `trainers/*.py` and `cmask train`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cmask_tf import config as configs
from cmask_tf.errors import UserError

STAGES = {
    "embedding": "Stage 1 (4.1): learn from tagged photos to place a photo near its tags' word vectors.",
    "refine": "Stage 2 (4.2): learn from boxes to turn coarse attention maps into refined ones.",
    "segmentation": "Stage 3 (4.3): learn from masks to turn attention into a sharp mask, "
    "from tags, whether a concept is there; then choose mixing and thresholds on the validation photos. "
    "Writes the finished model.",
}

SETS = {"embedding": ("tags", "boxes", "masks"), "refine": ("boxes",), "segmentation": ("masks",)}
START = {"refine": ("backbone", "embedding"), "segmentation": ("backbone", "embedding", "refinement")}

# The networks that a stage makes anew; those of START, the stage before gives.
PARTS = {
    "embedding": ("backbone", "embedding"),
    "refine": ("refinement",),
    "segmentation": ("segmentation_encoder", "segmentation_decoder"),
}


def add_arguments(parser: argparse.ArgumentParser, stage: str) -> None:
    """Adds the arguments of one stage ("embedding", "refine" or "segmentation")."""
    presets = "|".join(configs.PRESETS)
    parser.description = STAGES[stage] + " Run the same command again to go on after an interruption."
    parser.add_argument("--data", type=Path, required=True, metavar="RECORDS",
                        help="training records, from `cmask data prepare`")  # fmt: skip
    if stage == "embedding":
        parser.add_argument("--vocabulary", type=Path, required=True, metavar="DIR",
                            help="word vectors, from `cmask vocabulary build`")  # fmt: skip
        parser.add_argument("--config", default="lite", metavar=f"{presets}|FILE",
                            help="the networks and schedules (default: lite)")  # fmt: skip
    else:
        before = "embedding" if stage == "refine" else "refine"
        parser.add_argument("--from", dest="start", required=True, metavar="DIR|PRESET",
                            help=f"the --out of train_{before}.py, or a trained model")  # fmt: skip
        parser.add_argument("--config", metavar=f"{presets}|FILE",
                            help="default: the config of the stage before")  # fmt: skip
    parser.add_argument("--start-from", metavar="DIR|PRESET",
                        help="a model directory of the same config: its "
                        f"{' and '.join(PARTS[stage])} instead of fresh ones")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="where the result goes; work in progress is kept in DIR.run")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                        help="override one config field, as in --set refine.epochs=10")  # fmt: skip
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS",
                        help="steps between checkpoints, besides one each epoch (default: 500)")  # fmt: skip
    parser.add_argument("--wait", type=float, default=600, metavar="SECONDS",
                        help="how long to wait for the other hosts of TF_CONFIG (default: 600)")  # fmt: skip
    parser.add_argument("--deterministic", action="store_true",
                        help="the same result each time, at some speed")  # fmt: skip


def run(stage: str, args: argparse.Namespace) -> None:
    """Trains one stage as `add_arguments` understood it."""
    from cmask_tf import model_directory

    for name in ("start", "start_from"):
        if (given := getattr(args, name, None)) is not None:
            setattr(args, name, model_directory.locate(given))
    source = args.config
    if source is None:
        source = str(args.start / "config.json")
    config = configs.load(source, args.set)
    _check_inputs(stage, args, config)
    if _finished(args.out, config):
        print(f"{args.out}: finished already; remove it to train again")
        return
    from cmask_tf.training import run as training  # TensorFlow, only once the arguments hold

    training.train_stage(stage, config, args)
    print(f"{args.out}: written")


def _check_inputs(stage: str, args: argparse.Namespace, config: configs.Config) -> None:
    """What can be said without TensorFlow, which takes seconds to import."""
    from cmask_tf import model_directory
    from cmask_tf.vocabulary.artefact import FILES

    more = ()
    if stage == "segmentation":
        more += ("tags",) if config.verification.hidden else ()
        more += ("boxes",) if config.segment.box_weight else ()
    for name in (*SETS[stage], *more, "val"):
        if not (args.data / name / "dataset.json").is_file():
            raise UserError(f"{args.data / name}: no such record set; expected one from `cmask data prepare`")
    if args.start_from is not None:
        _check_start_from(stage, args.start_from)
    if stage == "embedding":
        for name in FILES:
            if not (args.vocabulary / name).is_file():
                raise UserError(f"{args.vocabulary / name}: no such file; expected a vocabulary directory")
    else:
        model_directory.check(args.start, START[stage])
        before = model_directory.load_config(args.start)
        for part in START[stage]:
            if getattr(config, part) != getattr(before, part):
                raise UserError(
                    f"{args.start}: was trained with another {part}; expected that of this config"
                )


def _check_start_from(stage: str, directory: Path) -> None:
    """Whether the networks to start from are there; they fit if their tensors do."""
    for part in PARTS[stage]:
        if not (directory / f"{part}.weights.h5").is_file():
            raise UserError(f"{directory / part}.weights.h5: no such file; expected a network to start from")


def _finished(out: Path, config: configs.Config) -> bool:
    if not out.exists():
        return False
    saved = out / "config.json"
    if not saved.is_file() or not (out / "provenance.json").is_file():
        raise UserError(f"{out}: exists and is not a trained stage; give another --out")
    if configs.from_dict(json.loads(saved.read_text()), str(saved)) != config:
        raise UserError(f"{out}: was trained with another config; give another --out, or the same config")
    return True
