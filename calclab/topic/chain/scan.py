"""topic=chain: the scan that fits the subject."""

from __future__ import annotations

from calclab.core import Function
from calclab.subject.network import Network
from calclab.topic.chain.layers import Layers
from calclab.topic.chain.links import Links


def chain(subject: Function | Network) -> Links | Layers:
    """k runs over the links of a function, or over the layers of a network. Raises UserError where there are none."""
    if not isinstance(subject, Network):
        return Links(subject)
    scan = Layers(subject)
    scan.refuse()
    return scan
