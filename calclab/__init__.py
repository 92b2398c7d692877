"""calclab: a lab for the calculus under neural networks. Every number carries its evidence.

calclab.load("outputs")                         a frame with one row a run
calclab.load("outputs/descent/<run>")           one run and its frames
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calclab.archive.read import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``load``, fetched when asked for: importing calclab stays light."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from calclab.archive.read import load

    return load
