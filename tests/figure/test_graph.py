"""The picture of a graph: nodes in layers that do not overlap, edges one way, and what is proven said."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
import torch

from calclab.core import Column, Graph
from calclab.figure.draw.canvas import png
from calclab.figure.draw.graph import draw_graph, pretty
from calclab.figure.record.graph import graph
from calclab.figure.record.layered import depths, layered

JOINTS = (("x", ""), ("v1", "x**2"), ("v2", "v1 + 1"), ("f", "v2**3"))
LINKS = ((0, 1), (1, 2), (2, 3))
NODES = torch.tensor([[[2.0, 0, 300, 1e-15], [4, 0, 75, 0], [5, 0, 75, 0], [125, 0, 1, 0]]], dtype=torch.float64)
EDGES = torch.tensor([[[4.0, 0, 300, 0], [1, 0, 75, 0], [75, 0, 75, 0]]], dtype=torch.float64)


def made(nodes=NODES, edges=EDGES):
    columns = {"nodes": Column([2], nodes), "edges": Column([2], edges)}
    panel = graph(Graph("graph", "nodes", "edges", JOINTS, LINKS), columns, {}, "chain of f")
    assert panel is not None
    return panel


@pytest.mark.parametrize("seed", range(8))
def test_boxes_do_not_overlap_and_edges_point_one_way(seed):
    chance = random.Random(seed)
    count = 14
    edges = sorted({(chance.randrange(head), head) for head in range(2, count) for _ in range(chance.randint(1, 3))})
    sizes = [(chance.uniform(0.5, 2), chance.uniform(0.4, 1)) for _ in range(count)]
    found = layered(sizes, edges, gap=0.5, apart=0.2)
    for a, b in combinations(range(count), 2):
        (x, y), (u, v) = found.places[a], found.places[b]
        apart_x = abs(x - u) - (sizes[a][0] + sizes[b][0]) / 2
        apart_y = abs(y - v) - (sizes[a][1] + sizes[b][1]) / 2
        assert apart_x > 0.4 or apart_y > 0.2 - 1e-9
    layer = depths(count, edges)
    for (tail, head), bends in zip(edges, found.bends, strict=True):
        assert found.places[tail][0] < found.places[head][0]
        assert len(bends) == 2 * (layer[head] - layer[tail] - 1)
    for (x, y), (wide, high) in zip(found.places, sizes, strict=True):
        assert wide / 2 - 1e-9 <= x <= found.size[0] - wide / 2 + 1e-9
        assert high / 2 - 1e-9 <= y <= found.size[1] - high / 2 + 1e-9


def test_edges_do_not_cross_where_they_need_not():
    found = layered([(1.0, 0.5)] * 6, [(0, 4), (1, 3), (2, 5)], gap=0.5, apart=0.2)
    order = sorted((0, 1, 2), key=lambda node: found.places[node][1])
    ends = {0: 4, 1: 3, 2: 5}
    assert [ends[node] for node in order] == sorted((3, 4, 5), key=lambda node: found.places[node][1])


def test_it_says_that_all_is_proven_only_where_it_is():
    assert made().note.startswith("✓ all 14 numbers are proven")
    nodes = NODES.clone()
    nodes[0, 1, 1] = 1e-3
    assert made(nodes=nodes).note == "13 of 14 numbers are proven to ten digits"


def test_what_is_drawn_is_the_numbers_and_their_names():
    figure = draw_graph(made())
    said = {text.get_text() for text in figure.axes[0].texts}
    assert {"v₂ = v₁ + 1", "5", "∂f/∂v₂ = 75", "∂v₂/∂v₁ = 1", "← 75 · 1 = 75", "∂f/∂x = 300"} <= said
    assert png(figure)[:4] == b"\x89PNG"


def test_nothing_is_drawn_of_what_was_not_logged():
    assert graph(Graph("graph", "nodes", "edges", JOINTS, LINKS), {}, {}, "") is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [("x0**2", "x₀²"), ("v12 - 3*v2", "v₁₂ − 3·v₂"), ("x**(1/3)", "x^(1/3)"), ("log10(x)", "log₁₀(x)")],
)  # fmt: skip
def test_formulas_are_written_as_on_a_blackboard(text, shown):
    assert pretty(text) == shown
