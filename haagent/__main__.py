"""``python -m haagent`` is the command ``haagent``."""

import sys

from haagent.app import main

sys.exit(main())
