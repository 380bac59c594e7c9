"""Photos and concepts to a running server, masks back: `cmask client`.

python serving/client.py photos/ --concept dress --server 127.0.0.1:8500 --out masks
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cmask_tf.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["client", *sys.argv[1:]]))
