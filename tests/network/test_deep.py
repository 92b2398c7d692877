"""The weights of a deep network are drawn as asked for."""

from __future__ import annotations

import torch

from calclab.network.deep import deep
from calclab.network.mlp import Mlp


def made(init: str, gain: float = 1.0, width: int = 64) -> Mlp:
    torch.manual_seed(0)
    return deep((width,), width, width=width, depth=2, activation="tanh", bias=True, init=init, gain=gain).double()


def test_orthogonal_weights_keep_lengths() -> None:
    for layer in (made("orthogonal", 1.5).hidden[0], made("orthogonal", 1.5).output):
        torch.testing.assert_close(
            layer.weight @ layer.weight.T, 2.25 * torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-5
        )
        assert not layer.bias.any()


def test_gaussian_weights_have_variance_one_over_inputs() -> None:
    weight = made("gaussian", 2.0, 400).hidden[2].weight
    assert abs(float(weight.detach().var()) * 400 / 4 - 1) < 4 * (2 / 400**2) ** 0.5
