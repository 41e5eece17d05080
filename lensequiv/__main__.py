"""`python -m lensequiv`."""

import sys

from lensequiv.cli import main

sys.exit(main())
