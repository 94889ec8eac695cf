"""`python -m notifier` is `notifier`."""

import sys

from notifier.cli import main

sys.exit(main())
