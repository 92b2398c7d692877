"""``calclab version``: of the lab, of Python, and of the libraries that decide about numbers and files."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from calclab import __version__
from calclab.errors import UserError

LIBRARIES = ("torch", "numpy", "hydra-core", "python-flint", "tensorboard")


def main(words: Sequence[str] = ()) -> int:
    """Print the versions; UserError for words, of which there are none."""
    if words and words[0] not in ("-h", "--help"):
        raise UserError(f"calclab version {words[0]}: version takes no words. Type calclab version")
    print(f"calclab {__version__}\nPython {platform.python_version()}")
    for name in LIBRARIES:
        print(f"{name} {installed(name)}")
    return 0


def installed(name: str) -> str:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return "not installed"
