"""A trained model as ONNX files, and as TensorRT engines where there is a GPU.

python export/to_tensorrt.py --model runs/model --out runs/onnx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmask_tf.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["export", "--format", "onnx", *sys.argv[1:]]))
