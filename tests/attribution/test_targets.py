"""What is attributed: outputs, classes, the loss, formulas; and what is refused, in a sentence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from calclab.attribution import attribute
from calclab.errors import UserError


def test_targets_that_are_the_same(nets: SimpleNamespace) -> None:
    net, x = nets.chain(nn.Tanh(), 4, 8, 3), nets.rows(9, 4)
    ask = lambda target, **more: attribute(net, "gradient", x, target=target, absolute=False, **more).values  # noqa: E731
    for same in ("output.2", "2", "y2", torch.full((9,), 2), lambda y, owner: y[:, 2]):
        torch.testing.assert_close(ask(same), ask(2))
    torch.testing.assert_close(ask("y0 - 2*y1"), ask(0) - 2 * ask(1))
    torch.testing.assert_close(ask("y0 - 2*y1 + 3"), ask(0) - 2 * ask(1))
    y = net(x).detach()
    torch.testing.assert_close(ask("y0*y1"), y[:, :1] * ask(1) + y[:, 1:2] * ask(0))
    torch.testing.assert_close(ask("predicted"), ask(y.argmax(1)))
    labels = torch.arange(9) % 3
    torch.testing.assert_close(ask("label", labels=labels), ask(labels))
    found = ask("loss", labels=labels, loss=lambda o, t: nn.functional.cross_entropy(o, t, reduction="none"))
    p = y.softmax(1)
    each = torch.stack([ask(k) for k in range(3)])
    torch.testing.assert_close(found, torch.einsum("bk,kbd->bd", p, each) - ask(labels))


def test_the_owner_of_every_point_is_known(nets: SimpleNamespace) -> None:
    """A target that differs by row must see the row's own label at every point of every method."""
    net, x = nets.chain(nn.Tanh(), 4, 8, 3), nets.rows(7, 4)
    places = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    by_function = lambda y, owner: y.gather(1, places[owner, None])[:, 0]  # noqa: E731
    for method, options in {
        "integrated_gradients": {"tol": 1e-9},
        "smoothgrad": {"samples": 5},
        "expected_gradients": {"samples": 5},
        "ablation": {},
        "shapley": {"samples": 5},
        "gradient": {},
    }.items():
        for memory in (0.01, 32.0):
            a = attribute(net, method, x, target=by_function, memory=memory, reference=x, **options)
            b = attribute(net, method, x, target=places, memory=memory, reference=x, **options)
            torch.testing.assert_close(a.values, b.values, rtol=1e-8, atol=1e-10)
            torch.testing.assert_close(a.score, b.score)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("output.3", "output.0 to output.2"),
        ("benign", "a formula in the outputs y0 to y2"),
        ("y0 - y7", "y7"),
        ("__import__('os').getcwd()", "there is predicted"),
        ("label", "Give labels="),
        ("loss", "Give labels="),
        (torch.zeros(2, dtype=torch.long), "for each of the 4 rows"),
        (torch.tensor([0, 1, 2, 3]), "0 to 2"),
    ],
)
def test_targets_that_there_are_not(nets: SimpleNamespace, target: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        attribute(nets.chain(nn.ReLU(), 4, 8, 3), "gradient", nets.rows(4, 4), target=target)


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("magic", {}, "the methods are gradient"),
        ("gradient", {"stepz": 3}, "gradient has the options absolute"),
        ("occlusion", {}, "needs window="),
        ("smoothgrad", {"of": "cubed"}, "absolute, signed or squared"),
        ("smoothgrad", {"samples": 1}, "samples=3 or more"),
        ("shapley", {"samples": 1}, "samples=1"),
        ("shapley", {"groups": [1, 2]}, "each of the 4 inputs"),
        ("permutation", {}, "Give labels="),
        ("permutation", {"labels": torch.zeros(4).long(), "score": "f1"}, "accuracy, r2, loss"),
        ("integrated_gradients", {"tol": 0.0}, "tol=0"),
        ("integrated_gradients", {"baseline": "ones"}, "zeros, mean, row.0"),
        ("integrated_gradients", {"baseline": "row.9"}, "rows 0 to 3"),
        ("integrated_gradients", {"baseline": "class.1"}, "reference_labels="),
        ("integrated_gradients", {"baseline": torch.zeros(3, 4)}, "one for each of the 4 rows"),
        ("expected_gradients", {"reference": torch.zeros(5, 3)}, "same shape"),
        ("gradient", {"memory": 0}, "memory=0"),
    ],
)
def test_options_that_there_are_not(nets: SimpleNamespace, method: str, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        attribute(nets.chain(nn.ReLU(), 4, 8, 3), method, nets.rows(4, 4), **options)


def test_a_network_brings_its_data_labels_and_names() -> None:
    from functools import partial

    from calclab.data.inline import inline
    from calclab.network.mlp import Mlp
    from calclab.subject.network import network

    place = {"dtype": torch.float64, "device": torch.device("cpu"), "seed": 3}
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).tolist()
    data = inline(
        inputs=x,
        targets=["ill", "well", "well"] * 4,
        outputs=None,
        features=["age", "dose", "weight"],
        classes=None,
        task="auto",
        standardize=False,
        held_out=0.0,
        **place,
    )
    made = partial(Mlp, width=6, depth=1, activation="relu", bias=True)
    net = network(made, data, name="mlp", dtype=torch.float64, seed=3)
    found = attribute(net, "integrated_gradients", target="well", baseline="class.ill")
    assert found.values.shape == (12, 3)
    assert found.error_kind == "rounding"
    assert float(found.gap.abs().max()) < 1e-13
    by_number = attribute(net, "integrated_gradients", net.rows, target=1, baseline="class.0")
    torch.testing.assert_close(found.values, by_number.values)
    loss = attribute(net, "gradient", target="loss", absolute=False).values
    leaf = net.rows.clone().requires_grad_()
    (g,) = torch.autograd.grad(net.losses(leaf, data.targets).sum(), leaf)
    torch.testing.assert_close(loss, g)
    assert attribute(net, "permutation").values.shape == (1, 3)
    bad = net.rows.clone()
    bad[4, 1] = torch.nan
    with pytest.raises(UserError, match="row 4, 'dose' is nan"):
        attribute(net, "gradient", bad)
    with pytest.raises(UserError, match="rows of 3 numbers"):
        attribute(net, "gradient", torch.zeros(2, 5))


@pytest.mark.parametrize("outputs", [2, 7, 8, 12])
def test_at_most_ten_targets_are_listed(nets: SimpleNamespace, outputs: int) -> None:
    """predicted, label, loss and the outputs; dots where there are more."""
    net, x = nets.chain(nn.Tanh(), 4, 8, outputs), nets.rows(3, 4)
    named = ", ".join(["predicted", "label", "loss", *(f"output.{k}" for k in range(min(outputs, 7)))])
    rest = ", ..." if outputs > 7 else ""
    with pytest.raises(UserError, match=f"there is {named}{rest}, or a formula in the outputs y0 to y{outputs - 1},"):
        attribute(net, "gradient", x, target="benign")
