"""What is attributed: one number t of a row, made of the network's outputs y (m,).

    predicted   y_k with k = argmax y at the row itself, held fixed while the input moves
    label       y_k with k the row's own class
    output.k    y_k; also by its name
    loss        the loss of the row: of rows that are right there is hardly any left to explain
    formula     any formula in y0, y1, ..., such as the margin y0 - y1: read by the lab's parser, never evaluated
    function    any callable of outputs (N, m) and of the row that each belongs to (N,), to (N,)

Outputs before a softmax are the better target: its gradient vanishes where the network is sure, and a probability falls
also when another class rises.

Where t is linear in the outputs, t = c·y, its coefficients (B, m), or the number of the one output that it is, are all
that is needed, and no graph is built for it.

>>> y = torch.tensor([[1.0, 4.0], [3.0, 2.0]])
>>> choose("predicted", y).values(y, slice(0, 2))
tensor([4., 3.])
>>> choose("y0 - y1", y).values(y, slice(0, 2))
tensor([-3.,  1.])
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.subject.formula import formula

Scalar = Callable[[Tensor, Tensor], Tensor]  # outputs (N, m), the row that each point belongs to (N,) -> (N,)
Which = slice | Tensor  # the rows along the last axis but one of an array of points


@dataclass(frozen=True, eq=False)
class Target:
    """Of rows with ``outputs`` (B, m): ``places`` (B,) where t is one of them, ``weights`` (B, m) where it is linear in
    them, else ``function``. Points are (..., b, m), b the rows ``which``."""

    name: str
    outputs: Tensor
    places: Tensor | None = None
    weights: Tensor | None = None
    function: Scalar | None = None

    @property
    def linear(self) -> bool:
        """Whether t = c·y with constant c: then its gradient in the outputs is the same at every point."""
        return self.function is None

    @cached_property
    def coefficients(self) -> Tensor:
        """c (B, m) of a linear target."""
        if self.weights is not None:
            return self.weights
        assert self.places is not None
        return torch.zeros_like(self.outputs).scatter_(1, self.places[:, None], 1.0)

    def folded(self, rows: Tensor, which: Which) -> Tensor:
        """c·rows of a linear target: of the weight (m, h) of a last layer (b, h), of its bias (m,) numbers (b,)."""
        if self.places is None:
            return self.coefficients[which] @ rows
        return rows.index_select(0, self.places[which])

    def values(self, outputs: Tensor, which: Which) -> Tensor:
        """t (..., b) of outputs (..., b, m), of which the last axes but one are the rows ``which``."""
        if self.places is not None:
            index = self.places[which].unsqueeze(-1)
            if outputs.ndim == 2:
                return outputs.gather(1, index)[:, 0]
            return outputs.gather(-1, index.expand(*outputs.shape[:-1], 1)).squeeze(-1)
        if self.function is None:
            return (outputs * self.coefficients[which]).sum(-1)
        return self.function(outputs.reshape(-1, outputs.shape[-1]), owners(outputs, which)).reshape(outputs.shape[:-1])

    def seed(self, outputs: Tensor, which: Which) -> Tensor:
        """∂t/∂y, (..., b, m) or what broadcasts to it, at outputs (..., b, m): what a backward pass begins with. Zeros
        where t does not depend on y."""
        if self.linear:
            return self.coefficients[which]
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            total = self.values(leaf, which).sum()
        if not total.requires_grad:
            return torch.zeros_like(outputs)
        (seed,) = torch.autograd.grad(total, leaf, allow_unused=True, materialize_grads=True)
        return seed


def owners(points: Tensor, which: Which) -> Tensor:
    """The row of each point of (..., b, m), flattened: (N,).

    >>> owners(torch.zeros(2, 3, 5), slice(4, 7)).tolist()
    [4, 5, 6, 4, 5, 6]
    """
    if isinstance(which, Tensor):
        return which if points.ndim == 2 else which.expand(points.shape[:-1]).reshape(-1)
    rows = torch.arange(which.start or 0, which.stop, device=points.device)
    return rows.expand(points.shape[:-1]).reshape(-1)


def choose(
    target: str | int | Tensor | Scalar,
    outputs: Tensor,
    *,
    names: Sequence[str] = (),
    labels: Tensor | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Target:
    """The target asked for, of rows with these outputs (B, m); UserError where there is no such thing.

    ``names`` (m) are those of the outputs, ``labels`` (B,) those of the rows, ``loss`` takes outputs (N, m) and labels
    to (N,).

    >>> y = torch.tensor([[1.0, 4.0], [3.0, 2.0]])
    >>> choose(1, y).places
    tensor([1, 1])
    >>> choose("dog", y, names=("cat", "dog")).name
    'dog'
    >>> choose("y0 * y1", y).linear
    False
    """
    B, m = outputs.shape
    if isinstance(target, Tensor):
        if target.shape != (B,) or target.is_floating_point() or not within(target, m):
            raise UserError(
                f"target: a tensor of targets holds the number of an output (0 to {m - 1}) for each of the {B} rows"
            )
        return selected("outputs given", target, outputs)
    if isinstance(target, str) and target.isdigit():
        target = int(target)
    if isinstance(target, int):
        target = f"output.{target}"
    if not isinstance(target, str):
        return Target(getattr(target, "__name__", "function of the outputs"), outputs, function=target)
    text = target.strip()
    if text == "predicted":
        return selected("predicted class" if m > 1 else "output", outputs.argmax(1), outputs)
    if text in ("label", "loss"):
        if labels is None:
            raise UserError(f"target={text} needs the label of each row. Give labels=, or type target=predicted")
        if text == "label":
            if labels.ndim != 1 or labels.is_floating_point():
                raise UserError("target=label needs classes, and the labels are numbers to predict. Type target=loss")
            return selected("output of the label", labels if m > 1 else torch.zeros_like(labels), outputs)
        if loss is None:
            raise UserError(
                "target=loss: a module by itself has no loss. Give loss=, a function (outputs, labels) -> (N,)"
            )
        return Target("loss", outputs, function=lambda y, owner: loss(y, labels[owner]))
    if text in names:
        return one(text, list(names).index(text), outputs)
    if found := re.fullmatch(r"output\.(\d+)", text):
        if int(found[1]) >= m:
            raise UserError(
                f"target={text}: the network has the outputs output.0 to output.{m - 1}. Type target=output.0"
            )
        return one(names[int(found[1])] if len(names) == m else text, int(found[1]), outputs)
    return written(text, outputs, names)


def within(places: Tensor, m: int) -> bool:
    """Whether all places (B,) are outputs of m."""
    low, high = places.aminmax()
    return int(low) >= 0 and int(high) < m


def one(name: str, place: int, outputs: Tensor) -> Target:
    return selected(name, torch.full((len(outputs),), place, device=outputs.device), outputs)


def selected(name: str, places: Tensor, outputs: Tensor) -> Target:
    """t_b = y_b[places_b], places (B,): an output of its own for each row, such as the class predicted."""
    return Target(name, outputs, places if places.device == outputs.device else places.to(outputs.device))


def written(text: str, outputs: Tensor, names: Sequence[str]) -> Target:
    """t by a formula in y0, y1, ...: read by the lab's own parser, never evaluated as Python. A formula that is linear
    and has no constant is t = c·y. UserError, with what there is, for what is no formula in the outputs."""
    B, m = outputs.shape
    try:
        function = formula(
            name="target", expr=text, variables=[f"y{k}" for k in range(m)], dtype=outputs.dtype, device=outputs.device
        )
    except UserError as error:
        listed = ["predicted", "label", "loss", *(names or (f"output.{k}" for k in range(m)))]
        few = ", ".join(listed[:10]) + (", ..." if len(listed) > 10 else "")
        raise UserError(
            f"target={text}: there is {few}, or a formula in the outputs y0{f' to y{m - 1}' * (m > 1)}, as in "
            f"target='{'y0 - y1' if m > 1 else 'y0**2'}'. {error}"
        ) from None
    if not function.scalar:
        raise UserError(f"target={text}: a target is one formula, not {len(function.outputs)}")
    call = function.call
    if function.exact is not None and function.exact.degree <= 1:
        base = call(torch.zeros_like(outputs[0]))
        slopes = torch.func.grad(call)(torch.zeros_like(outputs[0]))
        if not bool(base):  # t = c·y; with a constant it is a function like any other
            return Target(text, outputs, weights=slopes.expand(B, m))
    return Target(text, outputs, function=lambda y, owner: torch.vmap(call)(y))
