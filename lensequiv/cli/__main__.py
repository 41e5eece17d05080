"""`python -m lensequiv.cli`."""

import sys

from lensequiv.cli import main

sys.exit(main())
