"""`python -m cmask_tf.cli`: the `cmask` command of this very installation."""

import sys

from cmask_tf.cli import main

sys.exit(main())
