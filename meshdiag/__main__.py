"""`python -m meshdiag`."""

import sys

from meshdiag.cli import main

sys.exit(main())
