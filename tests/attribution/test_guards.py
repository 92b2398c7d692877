"""The module is left as found; inputs of every kind give the right answer or a sentence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.attribution import METHODS, attribute
from calclab.errors import UserError

OWN = {
    "gradient": {},
    "gradient_x_input": {},
    "integrated_gradients": {"tol": 1e-3},
    "expected_gradients": {"samples": 3},
    "smoothgrad": {"samples": 3},
    "ablation": {},
    "occlusion": {"window": 2},
    "shapley": {"samples": 3},
    "permutation": {"repeats": 2},
}


class Busy(nn.Module):
    """Dropout, batch statistics, a buffer written at every pass, a frozen parameter, a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))
        self.register_buffer("passes", torch.zeros(()))
        self.body[0].bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.body(x)


@pytest.mark.parametrize("method", OWN)
def test_the_module_is_left_as_found(nets: SimpleNamespace, method: str) -> None:
    net = Busy().double().train()
    net.body[3].eval()
    calls: list[int] = []
    net.body[2].register_forward_hook(lambda *_: calls.append(1))
    functional.cross_entropy(net(nets.rows(8, 4)), torch.arange(8) % 2).backward()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    before = [(p.requires_grad, p.grad, None if p.grad is None else p.grad.clone()) for p in net.parameters()]
    modes, hooks = [m.training for m in net.modules()], [dict(m._forward_hooks) for m in net.modules()]
    buffers = [id(b) for b in net.buffers()]
    torch.manual_seed(5)
    random = torch.get_rng_state()
    x = nets.rows(5, 4)
    found = attribute(net, method, x, labels=torch.arange(5) % 2, **OWN[method])
    assert found.values.shape[-1] == 4
    assert bool(found.values.isfinite().all())
    assert not x.requires_grad
    assert not found.values.requires_grad
    assert torch.equal(random, torch.get_rng_state())
    assert modes == [m.training for m in net.modules()]
    assert hooks == [dict(m._forward_hooks) for m in net.modules()]
    assert buffers == [id(b) for b in net.buffers()]
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in state.items())
    for p, (required, grad, values) in zip(net.parameters(), before, strict=True):
        assert p.requires_grad == required
        assert p.grad is grad
        assert grad is None or torch.equal(grad, values)
    assert calls  # the user's own hook ran, and the network was not taken for a chain without it
    assert any("dropout (body.3) is off" in note for note in found.notes)


def test_an_error_leaves_it_too(nets: SimpleNamespace) -> None:
    net = Busy().double().train()
    with pytest.raises(UserError, match="does not take these rows"):
        attribute(net, "gradient", nets.rows(5, 3))
    assert net.training
    assert [p.requires_grad for p in net.parameters()].count(False) == 1


def test_a_changed_network_is_not_the_chain_met_before(nets: SimpleNamespace) -> None:
    net, x = nets.chain(nn.ReLU(), 4, 8, 2), nets.rows(3, 4)

    def fresh() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)[0].abs()

    def check() -> None:
        for _ in range(2):
            torch.testing.assert_close(attribute(net, "gradient", x, target=0).values, fresh())

    check()
    with torch.no_grad():
        net[0].weight.mul_(1.00001)
    check()
    net[0].weight.data = net[0].weight.data * 1.00001
    check()
    net[2].bias = nn.Parameter(net[2].bias.detach() + 1)
    check()
    net[1] = nn.Tanh()
    check()
    handle = net[0].register_forward_hook(lambda m, args, out: 2 * out)
    check()
    handle.remove()
    net.append(nn.Linear(2, 2).double())
    check()


def test_random_in_eval_mode_is_refused(nets: SimpleNamespace) -> None:
    class Leaky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(x, 0.5)

    random = torch.get_rng_state()
    with pytest.raises(UserError, match="draws random numbers"):
        attribute(Leaky(), "gradient", nets.rows(3, 2))
    assert torch.equal(random, torch.get_rng_state())


def test_rows_that_mix_are_refused(nets: SimpleNamespace) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)).double()
    with pytest.raises(UserError, match="normalises by the rows at hand"):
        attribute(net, "gradient", nets.rows(4, 3))


def test_several_inputs_and_outputs(nets: SimpleNamespace) -> None:
    net = nets.made(nets.Two())
    a, b = nets.rows(6, 3), nets.rows(6, 2, seed=2)
    with pytest.raises(UserError, match="the keys sum, each"):
        attribute(net, "gradient", (a, b))
    found = attribute(net, "integrated_gradients", (a, b), output="each", target=2)
    left, right = found.parts()
    assert left.shape == (6, 3)
    assert right.shape == (6, 2)
    assert float(found.gap.abs().max()) < 1e-7
    by_hand = attribute(net, "gradient", (a, b), output="sum", absolute=False)
    leaves = a.clone().requires_grad_(), b.clone().requires_grad_()
    g = torch.autograd.grad(net(*leaves)["sum"].sum(), leaves)
    for own, other in zip(by_hand.parts(), g, strict=True):
        torch.testing.assert_close(own, other)
    with pytest.raises(UserError, match="output=3"):
        attribute(net, "gradient", (a, b), output=3)
    moved = attribute(net, "ablation", (a, b), output="each", target=0, baseline=(a[:1], b[:1]))
    assert float(moved.values[0].abs().max()) == 0


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "shapley", "ablation", "smoothgrad"])
def test_whole_numbers_go_to_the_embedding(nets: SimpleNamespace, method: str) -> None:
    net = nets.made(nets.Words())
    words = torch.randint(11, (5, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[2, 3:] = False
    found = attribute(net, method, (words, mask), target=1, **({"samples": 4} if method[0] == "s" else {}))
    assert found.values.shape == words.shape
    if method == "gradient":
        vectors = net.table(words).detach().requires_grad_()
        y = net.out((torch.tanh(vectors) * mask[..., None]).sum(1))[:, 1].sum()
        (g,) = torch.autograd.grad(y, vectors)
        torch.testing.assert_close(found.values, g.abs().sum(2))
    if found.gap is not None:
        assert float(found.gap.abs().max()) < 1e-7
        torch.testing.assert_close(found.values.sum(1), found.score - found.reference_score, atol=1e-7, rtol=0)
    if method != "smoothgrad":  # what is masked has no say; noise is relative to the range, but g is zero there
        assert float(found.values[2, 3:].abs().max()) == 0


def test_inputs_that_have_no_derivative(nets: SimpleNamespace) -> None:
    net = nets.chain(nn.ReLU(), 3, 4, 2)
    for rows, sentence in (
        (torch.arange(6).view(2, 3), "whole numbers"),
        (nets.rows(2, 3).float(), r"rows.to\(torch.float64\)"),
        (nets.rows(2, 3).log(), r"row \d, column \d is nan"),
        (nets.rows(2, 3)[:0], "at least 1"),
        (nets.rows(2, 3).bool(), "all inputs are held"),
        (None, "has no rows"),
        ([1.0, 2.0], "tensors are needed"),
    ):
        with pytest.raises(UserError, match=sentence):
            attribute(net, "gradient", rows)
    with pytest.raises(UserError, match="Module is needed"):
        attribute(torch.relu, "gradient", nets.rows(2, 3))

    class Arg(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(1, keepdim=True)

    with pytest.raises(UserError, match="no derivatives"):
        attribute(Arg(), "gradient", nets.rows(2, 3))


def test_an_output_that_the_input_does_not_reach() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.b.expand(len(x), 2)

    x = torch.ones(3, 4)
    for method, options in OWN.items():
        found = attribute(Constant(), method, x, labels=torch.zeros(3).long(), **options)
        assert float(found.values.abs().max()) == 0


def test_every_method_tells_its_cost_and_its_error(nets: SimpleNamespace) -> None:
    net, x = nets.chain(nn.ReLU(), 4, 6, 2), nets.rows(5, 4)
    for method, options in OWN.items():
        found = attribute(net, method, x, labels=torch.arange(5) % 2, **options)
        assert found.forwards + found.gradients >= 5
        assert found.error_kind
        assert found.error is None or found.error.shape == found.values.shape
        assert found.error is not None or found.error_kind == "rounding"
    assert set(OWN) <= set(METHODS)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda y: (y, y[:, 0]), "2 outputs, 0 to 1. Say which by output=0"),
        (lambda y: [y, y, y], "3 outputs, 0 to 2. Say which by output=0"),
        (lambda y: {"a": y, "b": y}, "a dict of outputs with the keys a, b. Say which by output=0"),
        (lambda y: None, "a NoneType, not a tensor. Say which by output=0"),
    ],
)
def test_of_several_outputs_one_is_named(nets: SimpleNamespace, given, sentence: str) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> object:
            return given(self.layer(x))

    net, x = nets.made(Several()), nets.rows(4, 3)
    with pytest.raises(UserError, match=f"Several gives {sentence}"):
        attribute(net, "gradient", x)
    with pytest.raises(UserError, match=sentence.partition(". Say")[0]):
        attribute(net, "gradient", x, output=9)


def test_what_is_one_output_has_no_others(nets: SimpleNamespace) -> None:
    with pytest.raises(UserError, match="output=9: one output"):
        attribute(nets.chain(nn.ReLU(), 3, 4, 2), "gradient", nets.rows(4, 3), output=9)
