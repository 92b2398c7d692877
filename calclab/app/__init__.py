"""The command line: the only package that knows Hydra. Exit status: 0 done (converged and diverged are results),
1 crash, 2 wrong input, 3 evidence refuted or a claim that does not hold, 130 and 143 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence

from calclab.errors import UserError
from calclab.text import quoted, shortened, warn

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full, the user's share of it is, or the file is too large

PLACE = (  # what a folder or a file says that is not there, not the user's, or of another kind
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ESTALE,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Answer the question in ``argv`` (default: the process's own arguments) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        check_readable(words)
        sys.path.insert(0, here())  # a user's own my.module.Net is found, also by the console script
        if "-h" in words or "--help" in words:
            from calclab.app.help import page

            print(page([word for word in words if not word.startswith("-")]))
            return 0
        from calclab.app import ranks
        from calclab.app.command import run
        from calclab.app.signals import answered

        with answered(aloud=ranks.first()):
            return ranks.together(lambda: run(words))
    except UserError as mistake:
        return say(str(mistake), 2)
    except KeyboardInterrupt as interrupt:  # before a run has begun, or the second one
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    except BrokenPipeError:  # whoever reads, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is told at exit
        return 0
    except OSError as trouble:  # of the disk, before a run has begun or after it has ended
        where = f": {trouble.filename}" if trouble.filename else ""
        if trouble.errno in DISK:
            return say(f"{trouble.strerror}{where}. Make room; the same command goes on from there", 1)
        if trouble.errno in PLACE:
            return say(f"{trouble.strerror}{where}. Name a place of your own: outputs=<folder>, data.path=<file>", 2)
        raise


def say(message: str, status: int) -> int:
    """One line to stderr, and the exit status that goes with it."""
    warn(message)
    return status


def check_readable(words: Sequence[str]) -> None:
    """UserError for bytes that are no text."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"cannot read {shortened(quoted(word))}: it is not in UTF-8. Type it in UTF-8") from None


def here() -> str:
    """The current folder; UserError where it has been removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise UserError(f"the current folder cannot be used ({error.strerror}). Type cd, to another one") from None
