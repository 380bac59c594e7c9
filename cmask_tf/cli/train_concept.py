"""`cmask train concept`: a finished model learns one concept more from a few photos."""

from __future__ import annotations

from pathlib import Path


def add_parser(stages) -> None:
    """Adds `cmask train concept`."""
    parser = stages.add_parser(
        "concept",
        help="teach a finished model one concept more, from twenty photos with masks or boxes",
        description="Learns a concept of a finished model anew from a few photos with masks or boxes of it. "
        "All other concepts keep their masks and scores.",
    )
    add = parser.add_argument
    add("--from", dest="start", required=True, metavar="DIR|PRESET", help="a finished model")
    add(
        "--data",
        type=Path,
        required=True,
        metavar="RECORDS",
        help="photos with masks or boxes of the word, from `cmask data coco`, `masks` and others; photos "
        "without it show where it is not",
    )
    add("--word", required=True, metavar="NAME", help="a word of the model that had no masks or boxes so far")
    add("--out", type=Path, required=True, metavar="DIR", help="the model directory to write")


def run(args) -> None:
    """Checks what can be checked at once, learns, writes the model and says how good the concept is."""
    from cmask_tf import model_directory

    source = model_directory.locate(args.start)
    model_directory.check_target(args.out)
    model_directory.check(source)
    if not (args.data / "dataset.json").is_file():
        from cmask_tf.errors import UserError

        raise UserError(f"{args.data}: no such record set; expected one from `cmask data`")
    from cmask_tf.data.records import RecordSet
    from cmask_tf.training.failures import told
    from cmask_tf.training.new_concept import add_concept

    records = RecordSet.open(args.data)
    with told(args.out, lambda: records.files):
        _report(add_concept(source, records, args.word, args.out))
    print(f"{args.out}: written")


def _report(found: dict) -> None:
    name, photos, judged = found["name"], found["photos"], found["cross_validation"]
    kind = "masks" if found["level"] == "mask" else "boxes"
    print(f"{name}: {photos['with']} photos show it ({kind}), {photos['without']} do not")
    print(
        f"IoU in photos left out ({judged['folds']} folds): {judged['iou']:.3f}; "
        f"before: {judged['iou_before']:.3f}"
    )
    if judged["iou"] <= judged["iou_before"]:
        print("no better than before: the model as it was serves this word as well; more photos may help")
    pull = found["pull"]
    print(f"its column is pulled towards {pull['towards'] or 'zero'}, strength {pull['strength']}")
    if found["threshold"] is None:
        print("too few photos for a threshold of its own: it takes the pooled one")
