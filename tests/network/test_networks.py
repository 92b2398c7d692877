"""The shipped networks: deterministic, rows apart, and differentiable in every way that is needed."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from calclab.errors import UserError
from calclab.network.activation import ACTIVATIONS, activation
from calclab.network.cnn import Cnn
from calclab.network.linear import Linear
from calclab.network.mlp import Mlp
from calclab.network.resnet import Resnet
from calclab.network.transformer import Transformer

IMAGE = (1, 8, 8)
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "linear": functools.partial(Linear, bias=True),
    "mlp": functools.partial(Mlp, width=5, depth=2, activation="tanh", bias=True),
    "cnn": functools.partial(Cnn, channels=2, blocks=2, activation="gelu"),
    "resnet": functools.partial(Resnet, channels=2, stages=2, blocks=2, activation="silu"),
    "transformer": functools.partial(Transformer, width=4, heads=2, blocks=2, activation="gelu"),
}


@pytest.fixture(params=NETWORKS)
def module(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(3)
    return NETWORKS[request.param](shape=IMAGE, outputs=3).double()


def images(rows: int) -> torch.Tensor:
    return torch.randn(rows, *IMAGE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_rows_do_not_mix_and_eval_mode_changes_nothing(module: nn.Module) -> None:
    x = images(4)
    together = module(x)
    assert together.shape == (4, 3)
    alone = torch.cat([module(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    assert torch.equal(together, module.eval()(x))
    assert not list(module.buffers())


def test_forward_over_reverse_equals_reverse_over_reverse_equals_a_difference(module: nn.Module) -> None:
    x, parameters = images(2), {name: p.detach() for name, p in module.named_parameters()}
    generator = torch.Generator().manual_seed(2)
    v = {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in parameters.items()}

    def loss(p: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(module, p, (x,)).square().sum()

    _, forward = jvp(grad(loss), (parameters,), (v,))
    leaves = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    g = torch.autograd.grad(loss(leaves), list(leaves.values()), create_graph=True)
    product = sum((a * b).sum() for a, b in zip(g, v.values(), strict=True))
    reverse = torch.autograd.grad(product, list(leaves.values()), materialize_grads=True)
    h = 1e-5
    ahead, behind = (grad(loss)({n: p + s * h * v[n] for n, p in parameters.items()}) for s in (1, -1))
    for name, r in zip(parameters, reverse, strict=True):
        torch.testing.assert_close(forward[name], r, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(r, (ahead[name] - behind[name]) / (2 * h), rtol=1e-4, atol=1e-4)


def test_vmap_over_rows_and_over_parameters(module: nn.Module) -> None:
    x = images(3)
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def one(p: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return functional_call(module, p, (row.unsqueeze(0),))[0]

    torch.testing.assert_close(vmap(one, (None, 0))(parameters, x), module(x), rtol=1e-10, atol=1e-10)
    several = {name: torch.stack([p, 2 * p]) for name, p in parameters.items()}
    both = vmap(one, (0, None))(several, x[0])
    torch.testing.assert_close(both[1], one({n: 2 * p for n, p in parameters.items()}, x[0]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_images_are_asked_for(name: str) -> None:
    with pytest.raises(UserError, match=r"data=digits.*network=mlp"):
        NETWORKS[name](shape=(13,), outputs=3)


def test_an_image_too_small_to_halve_is_refused() -> None:
    with pytest.raises(UserError, match=r"8 by 8 is too small.*smaller network.blocks"):
        Cnn(IMAGE, 3, channels=2, blocks=4, activation="relu")
    with pytest.raises(UserError, match=r"smaller network.stages"):
        Resnet(IMAGE, 3, channels=2, stages=5, blocks=1, activation="relu")


@pytest.mark.parametrize("shape", [(13,), (5, 3), (2, 4, 6)])
def test_a_transformer_takes_features_sequences_and_images(shape: tuple[int, ...]) -> None:
    module = Transformer(shape, 2, width=4, heads=2, blocks=1, activation="gelu")
    x = torch.randn(3, *shape)
    tokens = shape[-2] if len(shape) > 1 else shape[0]
    assert module.position.shape == (tokens, 4)
    assert module.embedding.in_features * tokens == x[0].numel()
    assert module(x).shape == (3, 2)


def test_the_tokens_of_an_image_are_its_lines() -> None:
    module = Transformer((2, 4, 6), 2, width=4, heads=1, blocks=1, activation="gelu")
    seen = []
    module.embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(1, 2, 4, 6)
    module(x)
    torch.testing.assert_close(seen[0][0, 3], torch.cat([x[0, 0, 3], x[0, 1, 3]]))


def test_attention_is_torchs_own_in_other_words() -> None:
    from calclab.network.transformer import Attention

    own, stock = Attention(6, 2).double(), nn.MultiheadAttention(6, 2, batch_first=True).double()
    with torch.no_grad():
        stock.in_proj_weight.copy_(torch.cat([own.query.weight, own.key.weight, own.value.weight]))
        stock.in_proj_bias.copy_(torch.cat([own.query.bias, own.key.bias, own.value.bias]))
        stock.out_proj.weight.copy_(own.output.weight)
        stock.out_proj.bias.copy_(own.output.bias)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(own(x), stock(x, x, x)[0])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match=r"multiple of the heads. Type network.width=9"):
        Transformer((4,), 2, width=10, heads=3, blocks=1, activation="gelu")


def test_the_layers_of_an_mlp_have_sensible_names() -> None:
    module = Mlp((4,), 2, width=3, depth=2, activation="relu", bias=False)
    assert list(dict(module.named_parameters())) == ["hidden.0.weight", "hidden.2.weight", "output.weight"]
    assert Mlp((4,), 2, width=3, depth=0, activation="relu", bias=True).output.weight.shape == (2, 4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_the_derivatives_that_differences_show(name: str) -> None:
    f = activation(name)
    x, h = torch.tensor([-2.3, -0.4, 0.7, 1.9], dtype=torch.float64), 1e-5
    first = vmap(grad(f))
    torch.testing.assert_close(first(x), (f(x + h) - f(x - h)) / (2 * h), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(vmap(grad(grad(f)))(x), (first(x + h) - first(x - h)) / (2 * h), rtol=1e-6, atol=1e-8)


def test_softplus_keeps_its_derivatives_far_out() -> None:
    f, x = activation("softplus"), torch.tensor(30.0, dtype=torch.float64)
    e = torch.exp(-x)
    torch.testing.assert_close(grad(grad(f))(x), e / (1 + e) ** 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(1 - grad(f)(x), e / (1 + e), rtol=1e-3, atol=0)


def test_an_unknown_activation_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"activation=rleu.*relu, tanh"):
        activation("rleu")
