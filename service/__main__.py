"""`python -m twofold.service`: the command `twofold`."""

import sys

from twofold.service.cli.main import main

sys.exit(main())
