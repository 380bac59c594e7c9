"""`cmask reproduce`: the paper's tables, ablations and baselines on any data folder, from one command."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path


def add_parser(subparsers) -> None:
    """Adds `cmask reproduce`."""
    from cmask_tf import config as configs

    parser = subparsers.add_parser(
        "reproduce",
        help="the paper's tables on a data folder",
        description="Trains what is missing, scores every system on the test photos and writes OUT/report. "
        "Run the same command again to go on after an interruption.",
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="a data folder, as `cmask data world` writes it",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="receives models, scores and report")
    add("--config", metavar=f"{'|'.join(configs.PRESETS)}|FILE",
        help="the networks and schedules (default: those of --out; in a new one lite)")  # fmt: skip
    add("--set", action="append", default=[], metavar="FIELD=VALUE",
        help="override one config field, as in --set refine.epochs=10; seed=S is the first seed")  # fmt: skip
    add("--seeds", type=int, default=1, metavar="N", help="how many (default: 1); more can be added later")
    add("--ablations", action="store_true", help="also our own decisions, one changed at a time, of one seed")
    add("--json", action="store_true", help="print the report's metrics.json")


@contextlib.contextmanager
def _terminable():
    """SIGTERM ends the command that is running, too, as Ctrl-C does."""

    def end(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(args) -> None:
    """Reproduces, and says where the report is."""
    from cmask_tf.reproduce.whole import reproduce

    source, saved = args.config, args.out / "config.json"
    if source is None:
        source = str(saved) if saved.is_file() else "lite"
    with _terminable():
        metrics = reproduce(args.data, args.out, source, args.set, args.seeds, args.ablations)
    if args.json:
        print(json.dumps(metrics, indent=1, ensure_ascii=False))
        return
    for ordering in metrics["orderings"]:
        claim = ordering["claim"]
        what = (
            f"{claim['better']} against {claim['worse']}, {claim['measure']}, {' + '.join(claim['levels'])}"
        )
        print(f"{what}: {ordering['outcome']}")
    print(f"{args.out / 'report' / 'report.html'}: written")
