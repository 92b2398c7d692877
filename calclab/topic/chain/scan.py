"""topic=chain: the scan that fits the subject."""

from __future__ import annotations

from dataclasses import replace

from calclab.core import Function
from calclab.subject.formula.graph import Graph, graph
from calclab.subject.links import links
from calclab.subject.network import Network
from calclab.topic.chain.layers import Layers
from calclab.topic.chain.links import Links
from calclab.topic.chain.operations import Operations


def chain(subject: Function | Network) -> Links | Operations | Layers:
    """k runs over the links of a function, over the operations of a formula, or over the layers of a network. A formula
    of one variable in which each operation takes what the one before gave is a composition, and these are its links.
    Raises UserError where there are none.
    """
    if isinstance(subject, Network):
        scan = Layers(subject)
        scan.refuse()
        return scan
    found = graph(subject)
    if found is None or subject.links:
        return Links(subject, found)
    if straight(found):
        texts = [f"{node.name} = {node.text}" for node in found.nodes]
        made = links(links=texts, at=subject.start.tolist(), dtype=subject.start.dtype, device=subject.start.device)
        return Links(replace(subject, links=made.links), found)
    return Operations(subject, found)


def straight(graph: Graph) -> bool:
    """Whether each operation has one argument, the one before it."""
    return len(graph.inputs) == 1 and graph.edges == tuple((k, k + 1) for k in range(len(graph.nodes)))
