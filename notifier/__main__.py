"""Lets `python -m notifier` run the same program as the command `notifier`."""

import sys

from notifier.cli import main

sys.exit(main())
