"""``python -m calclab.rerun outputs/<topic>/<run>``: the same question again, and whether the numbers are the same."""

import sys

from calclab.app.rerun import main

if __name__ == "__main__":
    sys.exit(main())
