"""The one error type for mistakes of the user's, and where an error comes from. No imports that cost, so that help and
checks stay quick."""

from __future__ import annotations

import os

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.dirname(os.path.abspath(os.__file__))
INSTALLED = ("site-packages", "dist-packages")


class UserError(ValueError):
    """A mistake of the user's. Its text says what was given, what is allowed and what to type instead."""


class MissingExtraError(UserError, ImportError):
    """A part of the lab that needs a package which is not installed. Its text names the extra."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} needs an extra: pip install 'calclab[{extra}]'")


def error_line(error: BaseException) -> str:
    """An error in one line, with the file and line of the user's code that it came through, where it did."""
    said = [line.strip() for line in (getattr(error, "msg", "") or str(error)).splitlines() if line.strip()]
    text = type(error).__name__ + (f": {said[0]}" if said else "")
    found = origin(error)
    return f"{text} ({found})" if found else text


def origin(error: BaseException) -> str:
    """The innermost place that an error came through which is neither the lab's nor a library's: "net.py, line 12";
    nothing where there is none."""
    if isinstance(error, SyntaxError) and error.filename and own(error.filename):
        return f"{os.path.basename(error.filename)}, line {error.lineno}"
    found, trace = "", error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if own(path):
            found = f"{os.path.basename(path)}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def own(path: str) -> bool:
    """Whether a source file is the user's own."""
    if path.startswith("<") or path.startswith((HERE + os.sep, LIBRARY + os.sep)):
        return False
    return not any(part in INSTALLED for part in path.split(os.sep))


def raised(error: BaseException) -> bool:
    """Whether a program raised the error by ``raise``: a KeyboardInterrupt of the keyboard's comes between any two
    instructions."""
    import dis

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
