"""A graph of operations as a tree of text: the output on top, below each node what it is made of."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from calclab.core import Graph, Table
from calclab.topic import words

LINES, DEEP = 60, 10  # lines at most; levels up to which each is set in
HEAD = ("node", "value", "product back")


def tree(graph: Graph, nodes: Tensor, edges: Tensor) -> tuple[Table, ...]:
    """``name = text``, its value, and the adjoint above times the local derivative = what flows back along that edge. A
    node met again is not unfolded again; a tree too long to read is none. ``nodes`` and ``edges`` are the tables
    logged."""
    below: dict[int, list[int]] = {}  # edges into each node
    for e, (_, head) in enumerate(graph.links):
        below.setdefault(head, []).append(e)
    deep = levels(graph) > DEEP
    met = set[int]()

    def rows(k: int, lead: str, branch: str, e: int | None) -> Iterator[tuple[str, str, str]]:
        name, text = graph.joints[k]
        back = ""
        if e is not None and edges[e, 2] == edges[e, 2]:
            head = graph.links[e][1]
            above, local, flow = map(words.number, (nodes[head, 2], edges[e, 0], edges[e, 2]))
            back = f"{above} · {local} = {flow}"
        again = k in met and k in below
        yield (
            lead + branch + (f"{name}, see above" if again else f"{name} = {text}" if text else name),
            (words.number(nodes[k, 0])),
            back,
        )
        if again:
            return
        met.add(k)
        own = below.get(k, [])
        inner = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for i, edge in enumerate(own):
            beneath = deep and len(own) == 1 and bool(branch)  # a long row of single steps is not set in
            mark = branch if beneath else "└─ " if i == len(own) - 1 else "├─ "
            yield from rows(graph.links[edge][0], lead if beneath else inner, mark, edge)

    found = list(rows(len(graph.joints) - 1, "", "", None))
    return (Table("graph", HEAD, found),) if len(found) <= LINES else ()


def levels(graph: Graph) -> int:
    """How many edges the longest way through the graph has."""
    depth = [0] * len(graph.joints)
    for tail, head in sorted(graph.links, key=lambda edge: edge[1]):
        depth[head] = max(depth[head], depth[tail] + 1)
    return max(depth)
