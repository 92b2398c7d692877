"""A formula split into its operations is the same function: values, slopes, and the texts of the operations."""

from __future__ import annotations

import pytest
import torch

from calclab.subject.formula import formula
from calclab.subject.formula.graph import EDGES, OPERATIONS, graph
from calclab.subject.links import links

EXPRESSIONS = [
    "(x**2 + 1)**3",
    "x*y + sin(x)",
    "x*x*y - y/x",
    "-x**2/(2*pi) + exp(-2.5*x)**(1/3)",
    "abs(x) * relu(y) + max(x, y, 2) - where(x < y, x**2, -y)",
    "sum(i, 0, n - 2, 100*(x[i + 1] - x[i]**2)**2 + (1 - x[i])**2)",
    "prod(i, 1, 3, x + i*y)",
    "atan2(y, x) + min(x, y) - sign(x)*log(x, 10)",
    "2 - (3 - x) - -y",
]


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_the_operations_together_are_the_formula(expr):
    f = formula(expr=expr, at=[0.7] if "y" not in expr and "[" not in expr else [0.7, 1.9])
    found = graph(f)
    assert found is not None
    z, n = found.call.start, len(f.variables)
    torch.testing.assert_close(found.call.call(z)[-1], f.call(f.start), rtol=1e-14, atol=0)
    J = torch.func.jacrev(found.call.call)(z)
    torch.testing.assert_close(J[-1, :n], torch.func.grad(f.call)(f.start), rtol=1e-13, atol=1e-15)
    for e, (tail, head) in enumerate(found.edges):  # an offset on an edge moves the node it leads to, and what follows
        assert tail < head
        assert bool((J[: head - n, n + e] == 0).all())


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_the_texts_can_be_typed_again(expr):
    """Each operation, typed as a formula of what it names, gives its value."""
    f = formula(expr=expr, at=[0.7] if "y" not in expr and "[" not in expr else [0.7, 1.9])
    found = graph(f)
    assert found is not None
    values = dict(zip(f.variables, f.start.tolist(), strict=True))
    for node, value in zip(found.nodes, found.call.call(found.call.start).tolist(), strict=True):
        if "..." not in node.text:
            again = formula(expr=node.text, variables=list(values), at=list(values.values()))
            assert float(again.call(again.start)) == pytest.approx(value, rel=1e-14)
        values[node.name] = value


def test_names_give_way_to_those_of_the_variables():
    found = graph(formula(expr="(v1*f + 1)**2", at=[1.0, 2.0]))
    assert found is not None
    assert found.inputs == ("f", "v1")
    assert [node.name for node in found.nodes] == ["u1", "u2", "F"]


def test_links_are_nodes_of_their_own():
    found = graph(links(links=["h = [x0*x1, sin(x0), x1**2]", "g = h0*h1 + h2", "f = g**2"], at=[0.7, -1.3]))
    assert found is not None
    assert [(node.name, node.text) for node in found.nodes] == [
        ("h0", "x0*x1"), ("h1", "sin(x0)"), ("h2", "x1**2"), ("g", "h0*h1 + h2"), ("f", "g**2")
    ]  # fmt: skip
    assert found.edges == ((0, 2), (1, 2), (0, 3), (1, 4), (2, 5), (3, 5), (4, 5), (5, 6))


def test_what_is_too_large_to_follow_has_no_graph():
    assert graph(formula(expr=f"sum(i, 0, {OPERATIONS + 5}, sin(i*x))", at=[0.3])) is None
    assert graph(formula(expr=f"sum(i, 0, {EDGES + 5}, x[i]**2)", at=[0.3] * (EDGES + 6))) is None
    assert graph(formula(expr=["x", "y"], at=[1.0, 2.0])) is None
