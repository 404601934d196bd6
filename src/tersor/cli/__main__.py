"""``python -m tersor.cli``."""

import sys

from . import main

sys.exit(main())
