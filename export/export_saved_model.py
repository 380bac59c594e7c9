"""A trained model as the next version of a SavedModel for TensorFlow Serving.

python export/export_saved_model.py --out runs/served
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmask_tf.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
