"""``python -m calclab``."""

import sys

from calclab.app import main

if __name__ == "__main__":
    sys.exit(main())
