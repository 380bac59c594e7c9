"""Stage 3: the label-agnostic segmentation network (4.3), from masks.

python trainers/train_segmentation.py --data runs/records --from runs/refine --out runs/model
"""

import sys

from cmask_tf.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", "segmentation", *sys.argv[1:]]))
