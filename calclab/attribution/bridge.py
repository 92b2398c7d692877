"""The way to Captum (the extra ``captum``): t as a module of its own, and the mean over baselines.

Captum works by hooks on modules and leaves some behind, so that it is given a copy.
"""

from __future__ import annotations

import copy
import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from calclab.attribution.question import Question
from calclab.attribution.result import Found
from calclab.errors import UserError

RULE = "gausslegendre"  # Captum's trapezoid, the default of some, has weights that add up to 1 - 1/steps
LAWFUL = 1e-2  # a gap above this part of the change is told


def captum() -> Any:
    try:
        return importlib.import_module("captum.attr")
    except ModuleNotFoundError:
        raise UserError(
            "this method is Captum's, which is an extra: pip install 'calclab[captum]'. Or type a method of the lab's "
            "own, such as method=integrated_gradients"
        ) from None


def quiet(method: Callable[..., Found]) -> Callable[..., Found]:
    """Without Captum's warnings of the hooks that it sets and the gradients that it asks for: they are on a copy."""

    @functools.wraps(method)
    def run(q: Question, **options: Any) -> Found:
        captum()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return method(q, **options)

    return run


class Answering(nn.Module):
    """A module whose only output is t, (N, 1). Captum repeats rows in whole blocks: point i belongs to row i mod B."""

    def __init__(self, module: nn.Module, q: Question) -> None:
        super().__init__()
        self.module = module
        self.q = [q]  # in a list, so that a copy of the module does not copy the question

    def forward(self, x: Tensor) -> Tensor:
        q = self.q[0]
        y = self.module(x)
        y = y if y.ndim == 2 else y.reshape(len(y), -1)
        rows = torch.arange(len(y), device=y.device) % len(q.rows)
        return q.target.values(y, rows)[:, None]


def answering(q: Question) -> Answering:
    """t of a copy of the module, which Captum may hook."""
    if not q.model.plain:
        raise UserError("Captum's methods are here for one floating-point input. Type method=integrated_gradients")
    return Answering(copy.deepcopy(q.model.module), q)


def shaped(q: Question, rows: Tensor) -> Tensor:
    return rows.detach().clone().reshape(len(rows), *q.model.pieces[0])


def over_baselines(
    q: Question, attribute: Callable[[Answering, Tensor, Tensor], Tensor], *, cost: int = 1, law: str = ""
) -> Found:
    """The mean over the baselines. Under ``law``, the method's name, the values add up to F(x) - F(baseline)."""
    from calclab.attribution.integrated import starts

    net, x = answering(q), shaped(q, q.rows)
    total, start = torch.zeros_like(q.rows), torch.zeros_like(q.score)
    every = q.baselines()
    for baseline in every:
        whole = shaped(q, baseline.expand(len(q.rows), -1))
        total += attribute(net, x, whole).detach().reshape(q.rows.shape)
        start += starts(q, baseline)
        q.gradients_taken += cost * len(q.rows)
    values, start = total / len(every), start / len(every)
    if not law:
        return Found(values)
    gap = values.sum(1) - (q.score - start)
    return Found(values, None, "", gap, start, notes=complete(gap, q.score - start, law))


def complete(gap: Tensor, change: Tensor, method: str) -> tuple[str, ...]:
    """A note where the values do not add up to what they should."""
    off = gap.abs().max() / change.abs().mean().clamp(min=torch.finfo(gap.dtype).tiny)
    if not bool(off > LAWFUL):
        return ()
    why = {
        "lrp": "biases take their part",
        "layer_integrated_gradients": "the path bends between its points, or not all goes through the layer",
    }.get(method, "a rule of Captum's does not hold for this network")
    return (
        f"{method}: the values of some row do not add up: they are off by {float(off):.0%} of the mean change ({why})",
    )
