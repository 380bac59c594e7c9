"""The page in a browser: `cmask web`.

python serving/web/app.py --model runs/demo/model
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from cmask_tf.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["web", *sys.argv[1:]]))
