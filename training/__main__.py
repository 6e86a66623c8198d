"""`python -m twofold.training`: the command `twofold-train`."""

import sys

from twofold.training.cli import main

sys.exit(main())
