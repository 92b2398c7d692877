"""Compositions: each link, and the whole that they make."""

from __future__ import annotations

import pytest
import torch

from calclab.errors import UserError
from calclab.subject.links import links


def test_notebook() -> None:
    f = links(links=["h = x**2", "g = h + 1", "f = g**3"], at=2)
    assert f.variables == ("x",)
    assert f.scalar
    assert float(f.call(f.start)) == 125
    assert [link.name for link in f.links] == ["h", "g", "f"]
    assert [float(link.call(link.start)) for link in f.links] == [4, 5, 125]
    slopes = [float(torch.func.grad(link.call)(link.start)) for link in f.links]
    assert slopes == [4, 1, 75]
    assert slopes[0] * slopes[1] * slopes[2] == float(torch.func.grad(f.call)(f.start)) == 300
    assert f.exact is not None
    assert float(f.exact.enclose(f.start, 1).mid) == 300
    assert [link.variables for link in f.links] == [("x",), ("h",), ("g",)]
    assert f.links[1].exact is not None
    assert f.links[1].exact.latex == "g(h) = h + 1"


def test_lists_between_links() -> None:
    f = links(links="[h = [x*y, sin(x) + y], g = [h[0]**2*h1, h0, h[1]], f = [g0 + g2, g[1]]]", at=[0.5, 2.0])
    J = torch.eye(2, dtype=torch.float64)
    z = f.start
    for link in f.links:
        torch.testing.assert_close(link.start, z)
        J = torch.func.jacrev(link.call)(z) @ J
        z = link.call(z)
    torch.testing.assert_close(z, f.call(f.start))
    torch.testing.assert_close(J, torch.func.jacrev(f.call)(f.start))
    assert f.outputs == ("f0", "f1")


def test_long_chains_stay_small() -> None:
    """Sixty squarings written out are 2^60 factors; the table has sixty nodes."""
    f = links(links=["h0 = x", *[f"h{k} = h{k - 1}*h{k - 1}*0.5 + 0.5" for k in range(1, 60)]], at=1.0)
    assert f.exact is not None
    assert float(f.exact.enclose(f.start, 1).mid) == float(torch.func.grad(f.call)(f.start)) == 1
    assert len(f.exact.latex) < 100


@pytest.mark.parametrize(
    "bad",
    [
        [],
        ["x**2"],
        ["h = x**2", "g = x + 1"],
        ["h = x", "h = h"],
        ["h = x", "g = k"],
        ["h = [x, y]", "g = h[2]"],
        ["h = x +"],
        ["sin = x"],
        ["h == x"],
        "nothing",
        [3],
        ["h = x**2", "g = h(1)"],
    ],
)
def test_refused(bad: object) -> None:
    with pytest.raises(UserError) as caught:
        links(links=bad, at=[1.0])  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
