"""A trained model as TFLite files for LiteRT, on phones and small computers.

python export/to_tflite.py --model runs/model --out runs/phone --variant float16
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmask_tf.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["export", "--format", "tflite", *sys.argv[1:]]))
