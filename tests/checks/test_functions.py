"""`calclab.check_function`: custom autograd.Functions, right ones and each fault of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import Function

import calclab

X = torch.tensor([[0.3, -1.2, 0.8], [2.0, 0.5, -0.4]], dtype=torch.float64)
Y = torch.tensor([[1.3, 0.2, -0.8], [0.7, -1.5, 0.9]], dtype=torch.float64)


class Product(Function):
    """x y and x + y, right in every way."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x * y, x + y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        x, y = ctx.saved_tensors
        return g * y + h, g * x + h

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
        x, y = ctx.saved_tensors
        return dx * y + x * dy, dx + dy


def variant(**members: Any) -> type[Function]:
    return type("Variant", (Product,), {name: staticmethod(member) for name, member in members.items()})


def test_a_right_function_is_right_in_every_way() -> None:
    found = calclab.check_function(Product, X, Y)
    assert found.right, str(found)
    seen = set(found.evidence["quantity"])
    assert {"jacobian", "second derivative", "forward mode", "vmap", "memory layout", "in place", "linearity"} <= seen
    assert {"each input by itself", "each output by itself", "other types"} <= seen


def wrong_when_alone(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    alone = not ctx.needs_input_grad[1]
    return (2 if alone else 1) * g * y + h, g * x + h


def spoils_gradient(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    found = g * y + h, g * x + h
    with torch.no_grad():
        h.zero_()
    return found


def spoils_saved(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    found = g * y + h, g * x + h
    x.data.mul_(2)
    return found


def clips(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    return g.clamp(-2, 2) * y + h, g * x + h


def ignores_strides(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    raw = g if g.is_contiguous() else g.flip(0)  # its memory taken in another order
    return raw * y + h, g * x + h


def detaches(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    return g * y.detach() + h, g * x + h


def one_type(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    return (1.5 if g.dtype == torch.float32 else 1.0) * g * y + h, g * x + h


def wrong_forward(ctx: Any, dx: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    x, y = ctx.saved_tensors
    return dx * y - x * dy, dx + dy


@pytest.mark.parametrize(
    ("members", "quantity"),
    [
        ({"backward": wrong_when_alone}, "each input by itself"),
        ({"backward": spoils_gradient}, "in place"),
        ({"backward": spoils_saved}, "in place"),
        ({"backward": clips}, "linearity"),
        ({"backward": ignores_strides}, "memory layout"),
        ({"backward": detaches}, "second derivative"),
        ({"backward": one_type}, "other types"),
        ({"jvp": wrong_forward}, "forward mode"),
    ],
)
def test_each_fault_is_found_where_it_is(members: dict[str, Any], quantity: str) -> None:
    found = calclab.check_function(variant(**members), X, Y)
    frame = found.evidence
    assert found.verdict == "refuted", str(found)
    assert quantity in set(frame[frame["verdict"] == "refuted"]["quantity"])


class Overwrites(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.clone())
        y = x.exp()
        x.zero_()
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * x.exp()


def test_an_input_overwritten_unsaid_is_found() -> None:
    found = calclab.check_function(Overwrites, X)
    assert found.verdict == "refuted"
    assert any("mark_dirty" in cause for cause in found.evidence["cause"])


class InPlace(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        x.mul_(3)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 3 * g


def test_an_input_overwritten_and_said_so_is_right() -> None:
    assert calclab.check_function(InPlace, X).verdict == "consistent"


class Ranked(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        found, places = x.sort()
        ctx.save_for_backward(places)
        ctx.scale = scale
        weights = places.to(x.dtype)
        ctx.mark_non_differentiable(weights)
        return scale * found, weights

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return torch.zeros_like(g).scatter(-1, places, ctx.scale * g), None


def test_outputs_that_are_not_differentiable_are_left_out_and_said() -> None:
    found = calclab.check_function(Ranked, X, 2.0)
    assert found.verdict == "consistent", str(found)
    assert any("f1" in note for note in found.notes)


class ComplexSquare(Function):
    conjugated = True

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z * z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return g * 2 * z.conj()


class NoConjugate(ComplexSquare):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return g * 2 * z


def test_complex_numbers_have_torchs_convention() -> None:
    z = torch.complex(X, Y)
    assert calclab.check_function(ComplexSquare, z).verdict == "consistent"
    assert calclab.check_function(NoConjugate, z).verdict == "refuted"


def test_what_is_no_function_is_a_mistake() -> None:
    with pytest.raises(calclab.UserError):
        calclab.check_function(3, X)
    with pytest.raises(calclab.UserError):
        calclab.check_function(Product)
