"""Which inputs matter to a network's output: attributions with an error beside every number.

``attribute(network, method, rows)`` asks one of ``METHODS``. The network is gone through by hand where it is a chain of
linear layers (``chain.py``), by autograd otherwise (``model.py``); each method is written once, for both.
"""

from __future__ import annotations

from calclab.attribution.attribute import METHODS, attribute
from calclab.attribution.guard import preserved
from calclab.attribution.question import Attribution

__all__ = ["METHODS", "Attribution", "attribute", "preserved"]
