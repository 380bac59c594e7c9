"""Stage 1: the embedding network (4.1), from tagged photos.

python trainers/train_embedding.py --config tiny \
    --data runs/records --vocabulary runs/vocabulary --out runs/embedding
"""

import sys

from cmask_tf.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", "embedding", *sys.argv[1:]]))
