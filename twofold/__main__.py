"""`python -m twofold`: the command `twofold`."""

import sys

from twofold.service.cli.main import main

sys.exit(main())
