"""Places for the nodes of a directed graph without circles, in layers, so that edges point one way and seldom cross.

Sugiyama, Tagawa and Toda 1981 in its plain form: a node's layer is the longest way to it, an input's the last before
its first use; an edge over several layers bends at a point in each of them; within a layer nodes are sorted by the mean
place of their neighbours, to and fro, and the order with the fewest crossings is kept; then each is drawn to the mean
of its neighbours as far as those beside it let it.

>>> found = layered([(1.0, 1.0)] * 3, [(0, 2), (1, 2)], gap=0.5, apart=0.5)
>>> found.places
((0.5, 2.0), (0.5, 0.5), (2.0, 1.25))
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

Size = tuple[float, float]
Place = tuple[float, float]

SWEEPS, PULLS = 16, 30


class Layout(NamedTuple):
    """The middle of each node, for each edge the points where it enters and leaves a layer in between, and the size of
    the whole."""

    places: tuple[Place, ...]
    bends: tuple[tuple[Place, ...], ...]
    size: Size


def depths(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each node; every edge (from, to) leads to a node of a higher number."""
    depth = [0] * count
    for tail, head in sorted(edges, key=lambda edge: edge[1]):
        depth[head] = max(depth[head], depth[tail] + 1)
    fed = {head for _, head in edges}
    for node in range(count):
        uses = [depth[head] for tail, head in edges if tail == node]
        if node not in fed and uses:
            depth[node] = min(uses) - 1
    return depth


def layered(sizes: Sequence[Size], edges: Sequence[tuple[int, int]], gap: float, apart: float) -> Layout:
    """Layers from left to right, ``gap`` between them, and ``apart`` between neighbours in a layer."""
    count = len(sizes)
    depth = depths(count, edges)
    heights = [height for _, height in sizes]
    ways: list[list[int]] = []  # the nodes and bends that each edge runs through
    for tail, head in edges:
        way = [tail]
        for layer in range(depth[tail] + 1, depth[head]):
            way.append(len(depth))
            depth.append(layer)
            heights.append(0.0)
        ways.append([*way, head])
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for node, layer in enumerate(depth):
        layers[layer].append(node)
    before: list[list[int]] = [[] for _ in depth]
    after: list[list[int]] = [[] for _ in depth]
    for way in ways:
        for a, b in pairwise(way):
            after[a].append(b)
            before[b].append(a)
    layers = ordered(layers, before, after)
    y = settled(layers, before, after, heights, apart)
    widths = [max((sizes[node][0] for node in layer if node < count), default=0.0) for layer in layers]
    x = [sum(widths[:i]) + i * gap + width / 2 for i, width in enumerate(widths)]
    low = min(y[node] - heights[node] / 2 for node in range(len(depth)))
    high = max(y[node] + heights[node] / 2 for node in range(len(depth)))
    at = [(x[depth[node]], high - y[node]) for node in range(len(depth))]  # the first of a layer on top
    bends = tuple(
        tuple((at[node][0] + side * widths[depth[node]] / 2, at[node][1]) for node in way[1:-1] for side in (-1, 1))
        for way in ways
    )
    return Layout(tuple(at[:count]), bends, (sum(widths) + gap * (len(layers) - 1), high - low))


def ordered(layers: list[list[int]], before: list[list[int]], after: list[list[int]]) -> list[list[int]]:
    """The layers sorted so that few edges cross."""
    best, least = layers, crossings(layers, after)
    now = [list(layer) for layer in layers]
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = before if down else after
        for layer in now if down else reversed(now):
            rank = {node: i for other in now for i, node in enumerate(other)}
            own = {
                node: sum(rank[n] for n in neighbours[node]) / len(neighbours[node]) if neighbours[node] else rank[node]
                for node in layer
            }
            layer.sort(key=own.__getitem__)
        found = crossings(now, after)
        if found < least:
            best, least = [list(layer) for layer in now], found
    return best


def crossings(layers: list[list[int]], after: list[list[int]]) -> int:
    found = 0
    for one, other in pairwise(layers):
        rank = {node: i for i, node in enumerate(other)}
        ends = [rank[head] for tail in one for head in sorted(after[tail], key=rank.__getitem__)]
        found += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return found


def settled(
    layers: list[list[int]], before: list[list[int]], after: list[list[int]], heights: list[float], apart: float
) -> dict[int, float]:
    """Where each node of a layer stands, downwards."""
    y: dict[int, float] = {}
    for layer in layers:
        top = 0.0
        for node in layer:
            y[node] = top + heights[node] / 2
            top += heights[node] + apart
        middle = (top - apart) / 2
        for node in layer:
            y[node] -= middle
    for pull in range(PULLS):
        for layer in layers if pull % 2 == 0 else reversed(layers):
            wished = []
            for node in layer:
                near = before[node] + after[node]
                wished.append(sum(y[n] for n in near) / len(near) if near else y[node])
            y |= zip(layer, spaced(wished, [heights[node] for node in layer], apart), strict=True)
    return y


def spaced(wished: Sequence[float], heights: Sequence[float], apart: float) -> list[float]:
    """The places nearest to the wished ones, in the same order, that leave everyone room: neighbours that would overlap
    become a block around their mean (pool adjacent violators)."""
    blocks: list[tuple[float, list[float]]] = []  # where a block begins, its members' offsets
    offset = 0.0
    offsets = []
    for i, height in enumerate(heights):
        offset += (heights[i - 1] + height) / 2 + apart if i else 0.0
        offsets.append(offset)
    for wish, own in zip(wished, offsets, strict=True):
        blocks.append((wish - own, [own]))
        while len(blocks) > 1 and blocks[-1][0] < blocks[-2][0]:
            (b, members), (a, others) = blocks.pop(), blocks.pop()
            blocks.append(((a * len(others) + b * len(members)) / (len(others) + len(members)), [*others, *members]))
    return [begin + own for begin, members in blocks for own in members]
