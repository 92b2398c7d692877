"""An objective shared out over processes: f(θ) = Σ_r f_r(θ), rank r holding the rows of f_r, θ the same everywhere.

Two maps carry it, each the derivative of the other (the f and g of Megatron, Shoeybi et al. 2019, section 3):
``Copy`` hands θ to all ranks, and its pullback sums over them; ``Sum`` sums over the ranks, and its pullback copies.
So f = Sum ∘ f_r ∘ Copy is right on every rank, and so are its derivatives of every order, forward and reverse.

Every rank must make the same calls in the same order. Nothing here depends on the rank but the rows themselves: all
ranks evaluate equally many, so that whoever sizes a block by the graph's bytes comes to the same size everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function as Differentiable

from calclab.errors import UserError

Call = Callable[[Tensor], Tensor]
Share = Callable[[Tensor, slice], Tensor]  # θ (n,) and which rows, to the loss of each of them


class RankError(Exception):
    """Another process of the run has ended, or is out of step. (No RuntimeError: that would be taken for an operation
    that cannot be batched, and tried again.)
    """


def ranks() -> int:
    """How many processes share the rows; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


_lonely = False


@contextmanager
def alone() -> Iterator[None]:
    """Within the block every objective is computed whole, by this process: for what one rank does by itself."""
    global _lonely
    before, _lonely = _lonely, True
    try:
        yield
    finally:
        _lonely = before


def over_ranks(name: str, whole: Call, share: Share, start: Tensor, rows: int, *, mean: bool) -> Call:
    """The call ``whole``, θ (n,) to the mean (or sum) of the losses of ``rows`` rows, computed by all ranks together.

    ``share`` gives the losses of some rows. In one process this is ``whole`` itself.
    """
    if ranks() > 1 and not start.is_meta:
        refuse_mixed(name, share, start)
    return shared(whole, share, rows, mean=mean)


def shared(whole: Call, share: Share, rows: int, *, mean: bool) -> Call:
    """As ``over_ranks``, where it is known already that rows do not mix."""
    if ranks() == 1:
        return whole

    def call(θ: Tensor) -> Tensor:
        if _lonely or ranks() == 1:
            return whole(θ)
        window, seen = portion(rows, dist.get_rank(), ranks())
        part = share(copy(θ), window)[seen:].sum()
        return total(part / rows if mean else part)

    return call


def portion(rows: int, rank: int, size: int) -> tuple[slice, int]:
    """The rows that a rank evaluates, ⌈rows/size⌉ of them on every rank, and how many of these, the first, are
    counted by the ranks before it: the last ranks reach back for rows where there are not enough.
    """
    count = -(-rows // size)
    own = min(rank * count, rows)
    first = min(own, rows - count)
    return slice(first, first + count), own - first


def refuse_mixed(name: str, share: Share, θ: Tensor) -> None:
    """UserError where the loss of a row depends on the other rows, which may be with another rank."""
    with torch.no_grad():
        try:
            row, among = share(θ, slice(0, 1)), share(θ, slice(0, 2))[:1]
            mixed = not torch.allclose(row, among, rtol=1e-4, atol=1e-6, equal_nan=True)
        except (ValueError, RuntimeError):  # batch statistics of one row
            mixed = True
    if mixed:
        raise UserError(
            f"{name} mixes rows (batch statistics?), so its rows cannot be shared by {ranks()} processes. "
            "Leave torchrun out: python -m calclab ..."
        )


# --- the two maps ---------------------------------------------------------------------------------------------------


def copy(x: Tensor) -> Tensor:
    """x on every rank, where it is the same on all; pullbacks are summed over the ranks."""
    result: Tensor = Copy.apply(x)  # type: ignore[no-untyped-call]
    return result


def total(x: Tensor) -> Tensor:
    """Σ over the ranks of x, on every rank; pullbacks are the same on all."""
    result: Tensor = Sum.apply(x)  # type: ignore[no-untyped-call]
    return result


class Copy(Differentiable):
    """x ↦ x; tangents are copied, cotangents summed."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return total(gradients[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return copy(tangents[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        return copy(x), in_dims[0]


class Sum(Differentiable):
    """x ↦ Σ x over the ranks; tangents are summed, cotangents copied."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return all_reduce(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return copy(gradients[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return total(tangents[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        return total(x), in_dims[0]


def all_reduce(x: Tensor) -> Tensor:
    """Σ over the ranks of x, a new tensor of its shape; RankError where a rank is gone."""
    result = x.detach().clone(memory_format=torch.contiguous_format)
    try:
        dist.all_reduce(result)
    except RuntimeError as error:
        raise lost(error) from error
    return result


def lost(error: Exception) -> RankError:
    """What a failed exchange between ranks means to the user."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return RankError(f"rank {dist.get_rank()} has lost the other ranks of the run: one has ended or stalled ({first})")
