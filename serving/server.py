"""The embedded server: a versioned SavedModel over TensorFlow Serving's gRPC and REST.

python serving/server.py --model-base-path runs/served
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cmask_tf.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
