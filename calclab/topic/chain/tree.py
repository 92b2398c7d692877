"""A graph of operations as a tree of text: the output on top, below each node what it is made of."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from calclab.core import Graph
from calclab.topic import words

LINES, DEEP = 60, 10  # lines at most; levels up to which each is set in
BACK = "product back"


def tree(graph: Graph, nodes: Tensor, edges: Tensor) -> tuple[str, ...]:
    """``name = text = value`` on each line, and right of it the adjoint above times the local derivative = what flows
    back along that edge. A node met again is not unfolded again. ``nodes`` and ``edges`` are the tables logged."""
    below: dict[int, list[int]] = {}  # edges into each node
    for e, (_, head) in enumerate(graph.links):
        below.setdefault(head, []).append(e)
    deep = levels(graph) > DEEP
    met = set[int]()

    def lines(k: int, lead: str, branch: str, e: int | None) -> Iterator[tuple[str, str]]:
        name, text = graph.joints[k]
        value = words.number(nodes[k, 0])
        back = ""
        if e is not None and edges[e, 2] == edges[e, 2]:
            head = graph.links[e][1]
            above, local, flow = map(words.number, (nodes[head, 2], edges[e, 0], edges[e, 2]))
            back = f"{above} · {local} = {flow}"
        again = k in met and k in below
        yield lead + branch + (f"{name}, above" if again else " = ".join(filter(None, (name, text, value)))), back
        if again:
            return
        met.add(k)
        own = below.get(k, [])
        inner = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for i, edge in enumerate(own):
            alone = deep and len(own) == 1
            last = i == len(own) - 1
            mark = branch if alone and branch else "└─ " if last else "├─ "
            yield from lines(graph.links[edge][0], lead if alone and branch else inner, mark, edge)

    found = list(lines(len(graph.joints) - 1, "", "", None))
    if len(found) > LINES:
        return ()
    width = max(len(left) for left, _ in found)
    shown = [(found[0][0], BACK), *found[1:]] if any(back for _, back in found) else found
    return tuple(f"{left:<{width}}   {back}".rstrip() for left, back in shown)


def levels(graph: Graph) -> int:
    """How many edges the longest way through the graph has."""
    depth = [0] * len(graph.joints)
    for tail, head in sorted(graph.links, key=lambda edge: edge[1]):
        depth[head] = max(depth[head], depth[tail] + 1)
    return max(depth)
