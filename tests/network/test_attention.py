"""torch's own attention: every derivative, and the switches as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import grad, jvp, vmap
from torch.nn import functional

from calclab.data.inline import inline
from calclab.subject.network import Network, network


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.output = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.encoder(x).mean(1))


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.heads(x, x, x)[0].mean((1, 2)).unsqueeze(1).expand(-1, 2)


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        return functional.scaled_dot_product_attention(q, k, v).mean(1)[:, :2]


def made(module: type[nn.Module]) -> Network:
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).tolist()
    data = inline(
        inputs=x,
        targets=[[0.1, 0.2], [0.3, -1.0], [0.0, 2.0]],
        outputs=None,
        features=None,
        classes=None,
        task="auto",
        standardize=False,
        held_out=0.0,
        dtype=torch.float64,
        device="cpu",
        seed=0,
    )
    return network(module, data, name="attention")


@pytest.mark.parametrize("module", [Encoder, Heads, Fused])
def test_second_derivatives_forward_mode_and_vmap(module: type[nn.Module]) -> None:
    f = made(module).objective()
    θ = f.start
    v = torch.randn(len(θ), generator=torch.Generator().manual_seed(1), dtype=θ.dtype)
    slope, forward = jvp(f.call, (θ,), (v,))[1], jvp(grad(f.call), (θ,), (v,))[1]
    torch.testing.assert_close(slope, grad(f.call)(θ) @ v)
    leaf = θ.clone().requires_grad_()
    (g,) = torch.autograd.grad(f.call(leaf), leaf, create_graph=True)
    (reverse,) = torch.autograd.grad(g @ v, leaf)
    torch.testing.assert_close(forward, reverse)
    h = 1e-5
    torch.testing.assert_close(
        reverse, (grad(f.call)(θ + h * v) - grad(f.call)(θ - h * v)) / (2 * h), rtol=1e-4, atol=1e-7
    )
    several = torch.stack([θ, θ + 0.1 * v])
    torch.testing.assert_close(vmap(f.call)(several), torch.stack([f.call(x) for x in several]))


@pytest.mark.parametrize("module", [Encoder, Heads, Fused])
def test_forward_mode_by_the_input_is_not_silently_zero(module: type[nn.Module]) -> None:
    f = made(module).response()
    v = torch.randn(len(f.start), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, forward = jvp(f.call, (f.start,), (v,))
    J = torch.autograd.functional.jacobian(f.call, f.start)
    torch.testing.assert_close(forward, J @ v)
    assert forward.norm() > 1e-6
    torch.testing.assert_close(vmap(f.call)(made(module).rows), made(module).batch_outputs(made(module).rows))


def test_the_switches_are_put_back_even_after_an_error() -> None:
    net = made(Encoder)
    switches = (
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
    )
    net.batch_outputs(net.rows)
    with pytest.raises((RuntimeError, AssertionError)):
        net.evaluate(torch.zeros(1, 5, 3, dtype=torch.float64))
    assert switches == (
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
    )
    assert net.batch_outputs(net.rows).isfinite().all()
