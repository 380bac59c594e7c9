"""Stage 2: attention map refinement (4.2), from boxes.

python trainers/train_refine.py --data runs/records --from runs/embedding --out runs/refine
"""

import sys

from cmask_tf.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", "refine", *sys.argv[1:]]))
