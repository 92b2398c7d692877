"""The numbers on a graph of operations: values forward, local derivatives, and the products that flow back.

With local derivatives d_e = ∂φ_k/∂v_i of each edge e from i to k, the adjoint v̄_k = ∂f/∂v_k and what flows back along
an edge are (Griewank and Walther 2008, section 3.2)

    v̄_f = 1,    flow_e = v̄_k d_e,    v̄_i = Σ of the flows along the edges out of i,

one multiplication an edge, whatever the number of variables. Beside each number stands how far it can be from the true
one: its gap to the ball that is proven to hold it, and the radius of that.

>>> from calclab.subject.formula import formula
>>> from calclab.subject.formula.graph import graph
>>> nodes, edges = accumulated(graph(formula(expr="(x**2 + 1)**3", at=[2.0])))
>>> nodes[:, 0].tolist(), edges[:, 0].tolist(), edges[:, 2].tolist()  # values, local derivatives, flows
([2.0, 4.0, 5.0, 125.0], [4.0, 1.0, 75.0], [300.0, 75.0, 75.0])
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from calclab.core import Ball, Labels
from calclab.core import Graph as Picture
from calclab.numerics.operators import dense_jacobian
from calclab.subject.formula.graph import Graph

NODES = ("value", "value bound", "adjoint", "adjoint bound")
EDGES = ("local derivative", "local derivative bound", "flow", "flow bound")


def accumulated(graph: Graph) -> tuple[Tensor, Tensor]:
    """Tables of the nodes (n + N, 4) and of the edges (E, 4), with the columns ``NODES`` and ``EDGES``. Of a function
    with several outputs there are no adjoints: NaN."""
    x, n, edges = graph.call.start, len(graph.inputs), graph.edges
    values = torch.cat([x[:n], graph.call.call(x).detach()])
    J = jacobian(graph)
    local = J[[head - n for _, head in edges], [n + e for e in range(len(edges))]]
    adjoint, flow = backward(graph, local)
    assert graph.call.exact is not None
    proven, slopes = graph.call.exact.enclose(x, 0), graph.call.exact.enclose(x, 1)
    every = torch.arange(len(edges))
    heads = torch.tensor([head - n for _, head in edges])
    value_bound = torch.cat([torch.zeros(n, dtype=torch.float64), distance(values[n:], proven.mid, proven.rad)])
    local_bound = distance(local, slopes.mid[heads, n + every], slopes.rad[heads, n + every])
    flow_bound = distance(flow, slopes.mid[-1, n:], slopes.rad[-1, n:])
    adjoint_bound = of_adjoints(graph, adjoint, slopes)
    columns = [values, value_bound, adjoint, adjoint_bound], [local, local_bound, flow, flow_bound]
    nodes, along = (torch.stack([part.to("cpu", torch.float64) for part in table], 1) for table in columns)
    return nodes, along


def jacobian(graph: Graph) -> Tensor:
    """∂(all nodes)/∂(x, ε), (N, n + E)."""
    return dense_jacobian(graph.call.call, graph.call.start).reshape(len(graph.nodes), -1)


def backward(graph: Graph, local: Tensor) -> tuple[Tensor, Tensor]:
    """The adjoints (n + N,) of the nodes and the flows (E,), from the output back."""
    count = len(graph.inputs) + len(graph.nodes)
    if graph.outputs != 1:
        return local.new_full((count,), math.nan), local.new_full(local.shape, math.nan)
    adjoint: list[Tensor] = [local.new_zeros(()) for _ in range(count)]
    adjoint[-1] = local.new_ones(())
    flow = [local.new_zeros(())] * len(local)
    for e in reversed(range(len(local))):
        tail, head = graph.edges[e]
        flow[e] = adjoint[head] * local[e]
        adjoint[tail] = adjoint[tail] + flow[e]
    return torch.stack(adjoint), torch.stack(flow)


def of_adjoints(graph: Graph, adjoint: Tensor, slopes: Ball) -> Tensor:
    """How far the adjoints can be from the true ones, which are sums of true flows."""
    n, count = len(graph.inputs), len(adjoint)
    mid, rad = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for e, (tail, _) in enumerate(graph.edges):
        mid[tail] += slopes.mid[-1, n + e]
        rad[tail] += slopes.rad[-1, n + e] + torch.finfo(torch.float64).eps * abs(mid[tail])  # of this very sum
    mid[-1] = 1.0
    return distance(adjoint, mid, rad)


def distance(numbers: Tensor, mid: Tensor, rad: Tensor) -> Tensor:
    """|v - mid| + rad, infinite where there is no proven number."""
    found = (numbers.detach().to("cpu", torch.float64) - mid).abs() + rad
    return torch.where(found.isnan(), math.inf, found)


def structure(graph: Graph) -> Picture:
    """The graph without its numbers, as a picture."""
    inputs = tuple((name, "") for name in graph.inputs)
    operations = tuple((node.name, node.text) for node in graph.nodes)
    return Picture("graph", "nodes", "edges", (*inputs, *operations), graph.edges)


def table_labels(picture: Picture) -> Labels:
    """Names along the axes of the two tables."""
    names = tuple(name for name, _ in picture.joints)
    along = tuple(f"{names[tail]} to {names[head]}" for tail, head in picture.links)
    return {picture.nodes: (names, NODES), picture.edges: (along, EDGES)}
