"""Mini-batches: every row once an epoch, the same rows whoever asks, and together the whole objective."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.func import grad, vmap
from torch.nn import functional

from calclab.data import synthetic
from calclab.errors import UserError
from calclab.network.mlp import Mlp
from calclab.subject.minibatch import Minibatches
from calclab.subject.network import Network, network

MLP = functools.partial(Mlp, width=6, depth=1, activation="tanh", bias=True)


def moons(loss: str | None = None, device: str = "cpu", held_out: float = 0.0) -> Network:
    data = synthetic.moons(
        rows=25, noise=0.1, standardize=False, held_out=held_out, dtype=torch.float64, device=device, seed=0
    )
    return network(MLP, data, name="mlp", loss=loss, device=device)


def epoch_of(batches: Minibatches, e: int) -> list[torch.Tensor]:
    n = batches.steps_per_epoch
    return [batches.rows(k) for k in range(e * n, (e + 1) * n)]


@pytest.mark.parametrize(("batch", "steps"), [(1, 50), (7, 8), (25, 2), (49, 2), (50, 1)])
def test_an_epoch_sees_every_row_once(batch: int, steps: int) -> None:
    batches = moons().sampled(batch, seed=3)
    assert batches.steps_per_epoch == steps
    for e in range(3):
        pieces = epoch_of(batches, e)
        assert [len(piece) for piece in pieces[:-1]] == [batch] * (steps - 1)
        assert torch.cat(pieces).sort().values.tolist() == list(range(50))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    net = moons()
    orders = [torch.cat(epoch_of(net.sampled(7, seed), e)) for seed in (0, 1) for e in (0, 1, 2)]
    assert len({tuple(order.tolist()) for order in orders}) == 6


def test_a_step_sees_the_same_rows_whatever_was_asked_before() -> None:
    net = moons()
    forward = [net.sampled(7, 5).rows(k) for k in range(40)]  # anew for every k, as after a resume
    batches = net.sampled(7, 5)
    for k in (39, 0, 17, 16, 17, 8, 38):
        assert torch.equal(batches.rows(k), forward[k])
    assert len(batches.drawn) == 1


def test_a_batch_is_the_mean_over_its_rows() -> None:
    net = moons()
    batches = net.sampled(8, seed=1)
    for k in (0, 6, 9):
        f, rows = batches.at(k), batches.rows(k)
        assert len(rows) == (2 if k == 6 else 8)
        net.module.zero_grad()
        loss = functional.cross_entropy(net.module(net.data.inputs[rows]), net.data.targets[rows])
        loss.backward()
        expected = torch.cat([p.grad.flatten() for p in net.module.parameters()])  # type: ignore[union-attr]
        torch.testing.assert_close(f.call(f.start), loss.detach())
        torch.testing.assert_close(grad(f.call)(f.start), expected)
        assert (f.variables, f.scalar) == (net.variables, True)
        torch.testing.assert_close(vmap(f.call)(torch.stack([f.start, 2 * f.start]))[1], f.call(2 * f.start))


@pytest.mark.parametrize("loss", [None, "half_mse", "sum"])
def test_batches_weighted_by_their_rows_make_up_the_whole(loss: str | None) -> None:
    net = moons(loss)
    whole, batches = net.objective(), net.sampled(8, seed=2)
    θ = whole.start + 0.1
    weights = [len(rows) / 50 for rows in epoch_of(batches, 4)]
    functions = [batches.at(4 * 7 + j) for j in range(7)]
    value = sum(w * f.call(θ) for w, f in zip(weights, functions, strict=True))
    gradient = sum(w * grad(f.call)(θ) for w, f in zip(weights, functions, strict=True))
    torch.testing.assert_close(value, whole.call(θ))
    torch.testing.assert_close(gradient, grad(whole.call)(θ))


def test_held_out_rows_are_never_drawn() -> None:
    net = moons(held_out=0.2)
    batches = net.sampled(16, seed=0)
    assert batches.count == 40
    assert torch.cat(epoch_of(batches, 0)).max() == 39


@pytest.mark.parametrize("batch", [0, -3, 51])
def test_a_batch_that_cannot_be_is_refused(batch: int) -> None:
    with pytest.raises(UserError, match=rf"batch={batch}: there are 50 rows.*batch=50"):
        moons().sampled(batch, seed=0)


def test_random_state_is_left_alone_and_the_device_is_that_of_the_data() -> None:
    before = torch.get_rng_state()
    moons().sampled(7, seed=0).at(3)
    assert torch.equal(torch.get_rng_state(), before)
    batches = moons(device="meta").sampled(7, seed=0)
    assert batches.rows(0).is_meta
    f = batches.at(0)
    assert f.call(f.start).is_meta


def test_inner_and_outer_make_up_the_batch() -> None:
    batches = moons().sampled(7, seed=0)
    f = batches.at(7)  # the last of its epoch, of one row
    assert f.split is not None
    inner, outer = f.split
    assert inner(f.start).shape == (2,)
    torch.testing.assert_close(outer(inner(f.start)), f.call(f.start))
