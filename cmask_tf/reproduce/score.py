"""Table 1: one of the four attention maps on the test photos, in a process of its own.

python -m cmask_tf.reproduce.score Refined --seed-dir OUT/seed-0 \
    --images DATA/images/test --masks DATA/coco/concept_masks_test.json --out OUT/seed-0/scores/Refined
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cmask_tf.errors import UserError
from cmask_tf.reproduce.plan import ATTENTION


def main() -> int:
    """Scores the map that the arguments name; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=ATTENTION)
    for option in ("--seed-dir", "--images", "--masks", "--out"):
        parser.add_argument(option, type=Path, required=True, metavar="PATH")
    args = parser.parse_args()
    from cmask_tf.evaluation.attention_systems import attention_system
    from cmask_tf.evaluation.evaluate import evaluate

    try:
        system = attention_system(args.kind, args.seed_dir)
        evaluate(system, args.images, args.masks, args.out, title=args.kind)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
