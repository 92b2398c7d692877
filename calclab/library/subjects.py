"""Subjects: what a question is about, made of what a user has in hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Data, Function
from calclab.data.rows import data as rows_of
from calclab.errors import UserError
from calclab.network.call import with_targets
from calclab.network.functional import Functional
from calclab.subject.custom import custom
from calclab.subject.formula import formula as formula_of
from calclab.subject.links import links as links_of
from calclab.subject.network import Network, network

Precision = torch.dtype | str
DTYPES = {torch.bfloat16: torch.float32, torch.float16: torch.float32}  # the lab's, for those it does not compute in


def formula(
    expression: str | Sequence[str],
    at: float | Sequence[float] | None = None,
    *,
    variables: Sequence[str] | None = None,
    domain: Sequence[Any] | None = None,
    minima: Sequence[Any] | None = None,
    n: int | None = None,
    name: str = "formula",
    dtype: Precision = torch.float64,
    device: torch.device | str = "cpu",
) -> Function:
    """The function that a text says, at the point ``at`` (n,); a list of texts is a vector function.

    Raises UserError for what is no formula.

    >>> import calclab
    >>> f = calclab.formula("x**2*y + x*y**2", at=[1, 2])
    >>> f.variables
    ('x', 'y')
    """
    return formula_of(
        expr=expression,
        at=at,
        variables=variables,
        domain=domain,
        minima=minima,
        n=n,
        name=name,
        dtype=precision(dtype),
        device=device,
    )


def links(
    text: str, at: float | Sequence[float], *, dtype: Precision = torch.float64, device: torch.device | str = "cpu"
) -> Function:
    """A composition given link by link, innermost first: ``"[h = x**2, f = h + 1]"``."""
    return links_of(links=text, at=at, name="links", dtype=precision(dtype), device=device)


def function(
    call: Callable[[Tensor], Tensor],
    at: float | Sequence[float] | Tensor,
    *,
    variables: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    domain: Sequence[Any] | None = None,
    minima: Sequence[Any] | None = None,
    name: str | None = None,
    dtype: Precision | None = None,
    device: torch.device | str | None = None,
) -> Function:
    """Any callable of a tensor (n,) to () or (m,), at the point ``at`` (n,). A tensor brings its dtype and device.

    >>> import calclab, torch
    >>> g = calclab.function(lambda x: torch.exp(x[0] * x[1]), at=[0.7, 1.3])
    >>> g.variables
    ('x0', 'x1')
    """
    given = at if isinstance(at, Tensor) else None
    floating = given is not None and given.is_floating_point()
    return custom(
        callable=call,
        at=at.detach().cpu().tolist() if isinstance(at, Tensor) else at,
        name=name,
        variables=variables,
        outputs=outputs,
        domain=domain,
        minima=minima,
        dtype=precision(dtype or (given.dtype if floating and given is not None else torch.float64)),
        device=device or (given.device if given is not None else "cpu"),
    )


def loss(
    model: nn.Module | Callable[..., Any],
    criterion: str | Callable[[Tensor, Tensor], Tensor] | None,
    data: Any,
    *,
    output: str | int | Callable[[Any], Tensor] | None = None,
    parameters: Any = None,
    target: str | None = None,
    held_out: Any = None,
    features: Sequence[str] = (),
    classes: Sequence[str] = (),
    memory: float | None = None,
    train: int = 0,
    seed: int = 0,
    name: str | None = None,
    dtype: Precision | None = None,
    device: torch.device | str | None = None,
) -> Network:
    """θ ↦ the loss of ``model`` over the rows of ``data``, θ (n,) its trainable parameters.

    ``model`` is copied, and itself left as it is; it is looked at in eval mode, in the dtype and on the device of its
    own parameters unless others are named (float32 where they are in half precision). It may take several inputs, by
    name or in order, and give a tensor, tuple, dict, dataclass or Hugging Face output: ``output`` says which of these
    is looked at, by name, place or a function (None: its logits, else its first tensor; a note says so). Or it is a
    callable of (parameters, batch), with its ``parameters``, tensors in dicts and lists.

    ``criterion`` is a name ("cross_entropy", "mse", ...), a torch.nn loss, or any callable of (outputs (B, ...),
    targets), left as it is too. None takes the model's own loss, where it gives one; else cross entropy of classes, the
    mean squared error of numbers. Whether a loss is a mean, a weighted mean (weights of classes, ``ignore_index``) or a
    sum over rows is found out and said in a note; one that is none of these (contrasts, batch statistics) is computed
    of all rows together. ``data`` is what ``calclab.data.rows.data`` takes: a pair of tensors or arrays, a DataFrame
    with ``target``, a Dataset, a DataLoader or any batches; rows that take more than a quarter of ``memory`` gigabytes
    (None: 2) are read window by window.

    >>> import calclab, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    >>> X, y = torch.randn(20, 4), torch.randint(0, 2, (20,))
    >>> calclab.hessian(calclab.loss(model, torch.nn.CrossEntropyLoss(), (X, y)), top=5).verdict
    'consistent'
    """
    held = parameter(model if parameters is None else parameters)
    where: dict[str, Any] = {
        "dtype": precision(dtype or (torch.float64 if held is None else DTYPES.get(held.dtype, held.dtype))),
        "device": device or ("cpu" if held is None else held.device),
    }
    known: dict[str, Any] = {"target": target, "features": features, "classes": classes, **where}
    known |= {"memory": memory, "seed": seed}
    rows = rows_of(data, **known)
    if held_out is not None:
        rows = replace(rows, held_out=rows_of(held_out, **known))
    criterion = known_loss(criterion, rows)
    label = name or str(getattr(model, "__name__", type(model).__name__))
    if parameters is not None:
        if criterion is None:
            rows = with_targets(rows, "", "labels")
        model = Functional(model, parameters, loss=criterion is None)
    return network(model, rows, name=label, loss=criterion, output=output, train=train, seed=seed, **where)


def outputs(model: nn.Module, data: Any, **known: Any) -> Network:
    """x ↦ the outputs of ``model`` at the rows of ``data``; see `loss` for what both may be and what else is known."""
    return loss(model, known.pop("criterion", None), data, **known)


def known_loss(criterion: Any, rows: Data) -> Any:
    """The lab's own name of a torch.nn loss that says the same: its derivatives are then known in closed form."""
    plain = getattr(criterion, "reduction", "mean") == "mean" and getattr(criterion, "weight", None) is None
    if not plain or not isinstance(criterion, nn.Module):
        return criterion
    if type(criterion) is nn.CrossEntropyLoss and rows.classification and not criterion.label_smoothing:
        left_out = any(bool((part == criterion.ignore_index).any()) for part in torch.split(rows.targets, 2**20))
        return criterion if left_out else "cross_entropy"
    numbers = not rows.classification and rows.targets.shape[1:] != (0,)
    if type(criterion) is nn.MSELoss and numbers:
        return "mse"
    if type(criterion) is nn.BCEWithLogitsLoss and criterion.pos_weight is None and numbers:
        return "bce"
    return criterion


def parameter(model: Any) -> Tensor | None:
    """The first of a module's parameters, or of tensors in dicts and lists; None where it has none."""
    if isinstance(model, Tensor):
        return model if model.is_floating_point() else None
    if isinstance(model, nn.Module):
        model = list(model.parameters())
    parts = model.values() if isinstance(model, Mapping) else model if isinstance(model, list | tuple) else ()
    return next((found for found in map(parameter, parts) if found is not None), None)


def precision(dtype: Precision) -> torch.dtype:
    """float32 or float64, by name or as torch names it."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in (torch.float32, torch.float64):
        raise UserError(f"dtype={dtype}: the lab computes in float32 or float64. Give dtype=torch.float32")
    return found


__all__ = ["formula", "function", "links", "loss", "outputs"]
