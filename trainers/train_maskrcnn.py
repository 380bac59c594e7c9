"""Mask R-CNN* (5.3), the baseline with boxes of all concepts and a mask head for all classes.

python trainers/train_maskrcnn.py train --data runs/records --out runs/maskrcnn --backbone ckpt-28080
python trainers/train_maskrcnn.py predict --model runs/maskrcnn --images DIR --masks COCO.json --out FILE
"""

import sys

from cmask_tf.detectors.command import main

if __name__ == "__main__":
    sys.exit(main())
