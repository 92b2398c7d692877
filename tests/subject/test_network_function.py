"""A network as functions of its parameters and of its input, and modules left as they were found."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap
from torch.nn import functional

from calclab.core import Data
from calclab.errors import UserError
from calclab.network.linear import Linear
from calclab.network.mlp import Mlp
from calclab.subject.network import Network, entries, network

MLP = functools.partial(Mlp, width=4, depth=2, activation="tanh", bias=True)


def rows(classes: int = 3, shape: tuple[int, ...] = (5,), count: int = 7, dtype: torch.dtype = torch.float64) -> Data:
    generator = torch.Generator().manual_seed(9)
    inputs = torch.randn(count, *shape, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(classes, (count,), generator=generator)
    features = tuple(f"x{i}" for i in range(inputs[0].numel()))
    return Data("rows", inputs, targets, features, tuple(f"c{i}" for i in range(classes)), True)


def numbers(outputs: int = 2, **given: Any) -> Data:
    data = rows(classes=outputs, **given)
    targets = torch.randn(len(data.inputs), outputs, generator=torch.Generator().manual_seed(2)).to(data.inputs)
    return Data("numbers", data.inputs, targets, data.features, data.classes, False)


class Odd(nn.Module):
    """Dropout, batch normalisation, a counter that forward moves, a frozen layer, tied weights, a number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(5, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.Linear(width, width).requires_grad_(False)
        self.tied = nn.Linear(5, width)
        self.tied.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.output = nn.Linear(width, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = self.drop(self.norm(self.first(x))) + self.tied(x)
        return self.output(self.scale * functional.relu(self.frozen(y)))


# --- the objective ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_is_that_of_backward_on_the_plain_module(dtype: torch.dtype) -> None:
    data = rows(dtype=dtype)
    net = network(MLP, data, name="mlp", seed=4, dtype=dtype)
    f = net.objective()
    plain = copy.deepcopy(net.module)
    loss = functional.cross_entropy(plain(data.inputs), data.targets)
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters()])  # type: ignore[union-attr]
    torch.testing.assert_close(f.call(f.start), loss.detach())
    torch.testing.assert_close(grad(f.call)(f.start), expected)
    assert f.start.dtype == dtype
    assert len(f.variables) == len(f.start) == len(expected)
    assert f.scalar


def test_reverse_double_reverse_forward_and_vmap() -> None:
    f = network(MLP, numbers(), name="mlp").objective()
    v = torch.randn(len(f.start), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = f.start.clone().requires_grad_()
    (g,) = torch.autograd.grad(f.call(leaf), leaf, create_graph=True)
    (product,) = torch.autograd.grad(g @ v, leaf)
    torch.testing.assert_close(jvp(grad(f.call), (f.start,), (v,))[1], product)
    torch.testing.assert_close(jvp(f.call, (f.start,), (v,))[1], g.detach() @ v)
    several = torch.stack([f.start, f.start + v])
    torch.testing.assert_close(vmap(f.call)(several)[1], f.call(f.start + v))


def test_variables_name_the_entries_of_theta() -> None:
    net = network(MLP, rows(), name="mlp")
    f = net.objective()
    place = f.variables.index("hidden.2.weight[1,3]")
    assert f.start[place] == net.parameters()["hidden.2.weight"][1, 3]
    assert entries("scale", torch.Size()) == ["scale"]


def test_flatten_and_unflatten_undo_each_other() -> None:
    net = network(MLP, rows(), name="mlp")
    θ = torch.arange(len(net.variables), dtype=torch.float64)
    assert torch.equal(net.flatten(net.unflatten(θ)), θ)
    assert {n: p.shape for n, p in net.unflatten(θ).items()} == {n: p.shape for n, p in net.parameters().items()}


def test_the_objective_is_the_mean_of_the_losses_and_sum_is_a_sum() -> None:
    data = numbers()
    net = network(MLP, data, name="mlp")
    f = net.objective()
    torch.testing.assert_close(f.call(f.start), net.losses(net.rows, data.targets).mean())
    summed = network(MLP, data, name="mlp", loss="sum")
    torch.testing.assert_close(summed.objective().call(f.start), summed.batch_outputs(summed.rows).sum())


def test_the_gradient_of_a_linear_layer_under_sum_is_known() -> None:
    """Notebook, example 4: ∂loss/∂b counts the rows and ∂loss/∂W holds the column sums of X."""
    data = numbers(shape=(3,), count=4)
    net = network(functools.partial(Linear, bias=True), data, name="linear", loss="sum")
    f = net.objective()
    g = net.unflatten(grad(f.call)(f.start))
    assert g["linear.bias"].tolist() == [4, 4]
    torch.testing.assert_close(g["linear.weight"], data.inputs.sum(0).expand(2, 3))


# --- the response ---


def test_the_jacobian_of_a_linear_network_is_its_weight() -> None:
    net = network(functools.partial(Linear, bias=True), numbers(), name="linear")
    f = net.row_response(2)
    assert torch.equal(f.start, net.rows[2])
    torch.testing.assert_close(torch.func.jacrev(f.call)(f.start), net.parameters()["linear.weight"])
    torch.testing.assert_close(torch.func.jacfwd(f.call)(f.start), net.parameters()["linear.weight"])
    assert (f.variables, f.outputs) == (net.data.features, net.data.classes)


def test_responses_of_rows_and_layers_agree_with_the_batch() -> None:
    net = network(MLP, rows(shape=(1, 5)), name="mlp")
    together = net.batch_outputs(net.rows)
    torch.testing.assert_close(vmap(net.response().call)(net.rows), together)
    last = net.layer_response("output", 3)
    torch.testing.assert_close(last.call(last.start), together[3])
    inner = net.layer_response("hidden.1", 3)
    p = net.parameters()
    by_hand = torch.tanh(p["hidden.0.weight"] @ net.rows[3] + p["hidden.0.bias"])
    torch.testing.assert_close(inner.call(inner.start), by_hand)
    assert inner.outputs == tuple(f"hidden.1[{i}]" for i in range(4))
    torch.testing.assert_close(torch.func.jacrev(inner.call)(inner.start), torch.func.jacfwd(inner.call)(inner.start))


def test_layers_in_order_of_execution() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 3)
            self.unused = nn.Linear(9, 9)
            self.heads = nn.MultiheadAttention(4, 1, batch_first=True)
            self.first = nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x).unsqueeze(1)
            return self.last(self.heads(y, y, y)[0].squeeze(1))

    net = network(Backwards, rows(), name="backwards")
    assert [name for name, _ in net.layers()] == ["first", "heads", "last"]
    assert net.layer_response("heads", 0).call(net.rows[0]).shape == (4,)
    with pytest.raises(UserError, match="never called"):
        net.layer_response("unused", 0)
    with pytest.raises(UserError, match="layers first, heads, last"):
        net.layer_response("lats", 0)
    assert not any(module._forward_hooks for name, module in net.module.named_modules() if name)


def test_a_single_module_is_its_own_layer() -> None:
    net = network(nn.Linear(5, 3), rows(), name="net")
    assert [name for name, _ in net.layers()] == ["net"]
    torch.testing.assert_close(net.layer_response("net", 1).call(net.rows[1]), net.batch_outputs(net.rows)[1])


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(UserError, match="rows 0 to 6"):
        network(MLP, rows(), name="mlp").row_response(7)


# --- modules of the user's ---


def test_a_module_is_left_exactly_as_found() -> None:
    module = Odd(4).train()
    module.first.weight.grad = torch.ones_like(module.first.weight)
    before, modes = copy.deepcopy(module.state_dict()), [m.training for m in module.modules()]
    net = network(module, rows(), name="odd", train=3)
    inner = copy.deepcopy(net.module.state_dict())
    f = net.objective()
    g = grad(f.call)(f.start)
    leaf = f.start.clone().requires_grad_()
    f.call(leaf).backward()
    torch.testing.assert_close(leaf.grad, g)
    net.layers()
    net.response().call(net.rows[0])
    net.layer_response("norm", 0)
    for state, now in ((before, module.state_dict()), (inner, net.module.state_dict())):
        assert all(torch.equal(state[name], now[name]) for name in state)
        assert {n: t.dtype for n, t in state.items()} == {n: t.dtype for n, t in now.items()}
    assert [m.training for m in module.modules()] == modes
    assert torch.equal(module.first.weight.grad, torch.ones_like(module.first.weight))
    assert all(p.grad is None for p in module.output.parameters())
    assert all(p.grad is None for p in net.module.parameters())
    assert not any(m.training for m in net.module.modules())


def test_theta_leaves_out_what_is_frozen_and_counts_tied_weights_once() -> None:
    net = network(Odd(4), rows(), name="odd")
    assert list(net.parameters()) == [
        "scale", "first.weight", "first.bias", "norm.weight", "norm.bias", "tied.bias", "output.weight", "output.bias"
    ]  # fmt: skip
    assert "20 frozen parameters are held fixed" in net.notes
    assert net.variables[0] == "scale"
    plain = copy.deepcopy(net.module)
    functional.cross_entropy(plain(net.data.inputs), net.data.targets).backward()
    f = net.objective()
    g = net.unflatten(grad(f.call)(f.start))
    torch.testing.assert_close(g["first.weight"], plain.first.weight.grad)


def test_dropout_and_batch_statistics_play_no_part() -> None:
    net = network(Odd(4), rows(), name="odd")
    f = net.objective()
    assert f.call(f.start) == f.call(f.start)
    torch.testing.assert_close(vmap(net.response().call)(net.rows), net.batch_outputs(net.rows))


def test_own_knobs_are_bound_and_shape_is_handed_to_those_who_ask() -> None:
    assert len(network(functools.partial(Odd, width=4), rows(), name="odd").parameters()["scale"].shape) == 0

    def maker(outputs: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(5, width), nn.Linear(width, outputs))

    assert network(functools.partial(maker, width=2), rows(), name="made").shapes["1.weight"] == (3, 2)
    stock = functools.partial(nn.Linear, in_features=5, out_features=3)
    assert network(stock, rows(), name="stock").batch_outputs(rows().inputs).shape == (7, 3)


def test_lazy_modules_take_their_sizes_from_the_data() -> None:
    one, other = (network(lambda: nn.LazyLinear(3), rows(), name="lazy", seed=6) for _ in range(2))
    assert one.shapes["weight"] == (3, 5)
    assert torch.equal(one.parameters()["weight"], other.parameters()["weight"])


class Returns(nn.Module):
    def __init__(self, change: Any) -> None:
        super().__init__()
        self.linear, self.change = nn.Linear(5, 3), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.linear(x))


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (functools.partial(Odd, widht=4), r"Odd: .*Its knobs are network\.width"),
        (Odd, r"Odd: missing a required argument: 'width'"),
        (functools.partial(Odd, width=-1), "could not be made"),
        (lambda: 3, "gives a int"),
        (nn.Linear(5, 4), "has 4 outputs, and rows has 3 classes"),
        (nn.Linear(6, 3), r"does not take this data: .*A row of rows has the shape \(5,\)"),
        (Returns(lambda y: ("y", 3)), "gives a tuple"),
        (Returns(lambda y: y.sum()), "has 1 outputs, and rows has 3 classes"),
        (Returns(lambda y: y.argmax(1)), "2 rows of numbers are needed"),
        (Returns(lambda y: functional.dropout(y, 0.5)), "is random"),
        (nn.Linear(5, 3, dtype=torch.complex64), "complex"),
        (nn.Embedding(5, 3), "does not take this data"),
    ],
)
def test_modules_that_do_not_fit_are_refused(builder: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        network(builder, rows(), name="net")


def test_no_data_and_nothing_to_train() -> None:
    with pytest.raises(UserError, match="needs data"):
        network(MLP, None, name="mlp")
    frozen = network(nn.Linear(5, 3).requires_grad_(False), rows(), name="net")
    assert frozen.response().call(frozen.rows[0]).shape == (3,)
    with pytest.raises(UserError, match="no trainable parameters"):
        frozen.objective()


def test_batch_statistics_in_eval_mode_are_noted() -> None:
    module = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, track_running_stats=False))
    assert "mixes rows" in network(module, rows(), name="net").notes[0]
    assert network(MLP, rows(), name="mlp").notes == ()


def test_modules_that_write_over_their_inputs_get_copies() -> None:
    """A network that begins with nn.ReLU(inplace=True) would else change the data, and could not be differentiated."""
    data, linear = rows(), nn.Linear(5, 3).double()
    before = data.inputs.clone()
    over = network(nn.Sequential(nn.ReLU(inplace=True), linear), data, name="net")
    beside = network(nn.Sequential(nn.ReLU(), linear), data, name="net")
    for f, g in ((over.objective(), beside.objective()), (over.response(), beside.response())):
        assert torch.equal(f.call(f.start), g.call(g.start))
        assert torch.equal(*(torch.func.jacrev(h.call)(h.start) for h in (f, g)))
    assert torch.equal(data.inputs, before)


def test_one_logit_for_two_classes() -> None:
    net = network(nn.Linear(5, 1), rows(classes=2), name="net", train=50)
    assert (net.loss_name, net.outputs) == ("bce", ("c1",))
    right = ((net.batch_outputs(net.rows)[:, 0] > 0) == (net.data.targets == 1)).double().mean()
    assert f"{float(right):.1%} of the rows right" in net.notes[-1]


# --- seeds, weights, training, devices ---


def test_the_seed_decides_and_random_state_outside_is_left_alone() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    made = [network(MLP, rows(), name="mlp", seed=seed, train=1).objective().start for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_float32_and_float64_start_at_the_same_place() -> None:
    one = network(MLP, rows(dtype=torch.float32), name="mlp", dtype=torch.float32).objective().start
    assert torch.equal(one.double(), network(MLP, rows(), name="mlp").objective().start)


def test_weights_round_trip_and_parameters_by_hand(tmp_path: Path) -> None:
    source = network(MLP, rows(), name="mlp", seed=1, train=5)
    torch.save(source.module.state_dict(), tmp_path / "w.pt")
    target = network(
        MLP, rows(), name="mlp", seed=2, weights=str(tmp_path / "w.pt"), parameters={"output.bias": [1, 2, 3]}
    )
    assert target.parameters()["output.bias"].tolist() == [1, 2, 3]
    for name, p in source.parameters().items():
        assert name == "output.bias" or torch.equal(p, target.parameters()[name])


@pytest.mark.parametrize("given", ["weights", "parameters"])
def test_given_weights_are_never_trained_on(given: str, tmp_path: Path) -> None:
    source = network(MLP, rows(), name="mlp", seed=1)
    torch.save(source.module.state_dict(), tmp_path / "w.pt")
    lists = {name: p.tolist() for name, p in source.parameters().items()}
    how = {"weights": str(tmp_path / "w.pt")} if given == "weights" else {"parameters": lists}
    target = network(MLP, rows(), name="mlp", seed=2, train=200, **how)
    assert torch.equal(target.objective().start, source.objective().start)
    assert any("train=200 is left out" in note for note in target.notes)


def test_training_lowers_the_loss_and_says_so() -> None:
    before, after = (network(MLP, rows(), name="mlp", train=steps) for steps in (0, 40))
    f, g = before.objective(), after.objective()
    assert g.call(g.start) < 0.5 * f.call(f.start)
    assert f"{float(g.call(g.start)):.4g}" in after.notes[0]
    assert "40 steps of Adam" in after.notes[0]


def test_a_training_that_leaves_the_finite_numbers_is_told() -> None:
    data = numbers()
    huge = Data("huge", data.inputs * 1e200, data.targets, data.features, data.classes, False)
    with pytest.raises(UserError, match=r"data\.standardize=true"):
        network(
            MLP.func(shape=(5,), outputs=2, width=3, depth=1, activation="relu", bias=True), huge, name="mlp", train=3
        )


def test_everything_stays_on_its_device() -> None:
    data = rows()
    meta = Data("meta", data.inputs.to("meta"), data.targets.to("meta"), data.features, data.classes, True)
    net: Network = network(MLP, meta, name="mlp", device="meta")
    f = net.objective()
    assert f.start.is_meta
    assert grad(f.call)(f.start).is_meta
    assert torch.func.jacrev(net.response().call)(net.response().start).shape == (3, 5)
    assert net.losses(net.rows, meta.targets).shape == (7,)


def test_what_is_noted_of_the_data_is_passed_on() -> None:
    data = dataclasses.replace(rows(), notes=("3 rows dropped",))
    assert network(MLP, data, name="mlp").notes == ("3 rows dropped",)


def test_batch_normalisation_that_normalises_nothing_is_noted() -> None:
    module = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    fresh = network(module, rows(), name="net", train=2)
    assert any("batch normalisation (1 layers) keeps its first statistics" in note for note in fresh.notes)
    module(torch.randn(9, 5))  # in training mode: moves the statistics
    assert not any("batch normalisation" in note for note in network(module, rows(), name="net").notes)
    state = {"0.bias": [1, 2, 3]}
    assert not any(
        "batch normalisation" in note
        for note in network(
            nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), rows(), name="net", parameters=state
        ).notes
    )
