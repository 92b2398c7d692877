"""The command line: the only package that knows Hydra. Exit status: 0 done (converged and diverged are results),
1 crash, 2 wrong input, 3 evidence refuted or a claim that does not hold, 130 and 143 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from calclab.errors import UserError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full, the user's share of it is, or the file is too large


def main(argv: Sequence[str] | None = None) -> int:
    """Answer the question in ``argv`` (default: the process's own arguments) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    sys.path.insert(0, os.getcwd())  # a user's own my.module.Net is found, also by the console script
    try:
        if "-h" in words or "--help" in words:
            from calclab.app.help import page

            print(page([word for word in words if not word.startswith("-")]))
            return 0
        from calclab.app import ranks
        from calclab.app.command import run

        return ranks.together(lambda: run(words))
    except UserError as mistake:
        print(f"calclab: {mistake}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is told at exit
        return 0
    except OSError as trouble:  # of the disk, before a run has begun or after it has ended
        if trouble.errno not in DISK:
            raise
        where = f": {trouble.filename}" if trouble.filename else ""
        print(f"calclab: {trouble.strerror}{where}. Make room; the same command goes on from there", file=sys.stderr)
        return 1
