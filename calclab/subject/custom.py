"""Any Python callable as a function: ``function._target_=my.module.f function.at='[1, 2]'``."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from calclab.core import Function
from calclab.errors import UserError, error_line
from calclab.network.build import own_copy, unwrapped
from calclab.subject.formula.build import names_of, numbers, pairs, repeat
from calclab.subject.formula.text import nearest


def custom(
    *,
    callable: str | Callable[..., Tensor] | None,
    at: float | Sequence[float] | None,
    arguments: Mapping[str, Any] | None = None,
    name: str | None = None,
    variables: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    domain: Sequence[Any] | None = None,
    minima: Sequence[Any] | None = None,
    source: str = "",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Function:
    """A Function from a callable that takes (n,) to () or (m,), or from its dotted path.

    It is called once at ``at`` to see what it returns. A class, such as a module of torch, is made first, from
    ``arguments``; a plain function gets them as keywords. ``exact`` is None: its derivatives are checked by
    independent estimates.
    """
    if callable is None or callable == "":
        raise UserError("No callable is given. Type for example function._target_=my.module.f function.at='[1.0, 2.0]'")
    if at is None:
        raise UserError("A function of your own needs a start. Type for example function.at='[1.0, 2.0]'")
    label = callable if isinstance(callable, str) else getattr(callable, "__name__", "custom")
    found = locate(callable) if isinstance(callable, str) else callable
    x = torch.tensor(numbers(at, "at"), dtype=dtype, device=device)
    call = ready(found, label, dict(arguments or {}), x)
    value = first_value(call, label, x)
    m = None if value.dim() == 0 else len(value)
    named = tuple(f"x{k}" for k in range(len(x))) if variables is None else names_of(variables)
    listed = () if m is None else tuple(f"f{k}" for k in range(m)) if outputs is None else tuple(outputs)
    if len(named) != len(x) or len(listed) != (m or 0):
        raise UserError(
            f"{label}: {len(named)} variables and {len(listed)} outputs are named, and it takes {len(x)} numbers "
            f"and gives {1 if m is None else m}."
        )
    return Function(
        name=name or label.rpartition(".")[2],
        call=call,
        start=x,
        variables=named,
        outputs=listed,
        domain=None if domain is None else x.new_tensor(pairs(domain, len(x))),
        minima=None if minima is None else x.new_tensor([repeat(numbers(p, "minima"), len(x)) for p in minima]),
        source=source,
    )


def locate(path: str) -> Any:
    """The object at a dotted path. Whatever goes wrong on the way is told in one line."""
    module_name, _, attribute = path.rpartition(".")
    if not module_name:
        raise UserError(f"function._target_={path}: give the module too, as in my_module.{path or 'f'}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"function._target_={path}: cannot import {module_name}: {error}") from error
    except Exception as error:
        raise UserError(f"function._target_={path}: importing {module_name} raised {error_line(error)}") from error
    if not hasattr(module, attribute):
        raise UserError(f"function._target_={path}: {module_name} has no {attribute}.{nearest(attribute, dir(module))}")
    return getattr(module, attribute)


def ready(found: Any, label: str, arguments: dict[str, Any], x: Tensor) -> Callable[[Tensor], Tensor]:
    """A class is made from the arguments (modules in the run's precision); a function keeps them as keywords."""
    again = None
    if isinstance(found, type):
        again = functools.partial(found, **arguments)
        try:
            found = again()
        except Exception as error:
            raise UserError(f"function._target_={label}: making it raised {error_line(error)}") from error
        arguments = {}
    if isinstance(found, torch.nn.Module):
        found = unwrapped(own_copy(found, again))[0]
        found = found.to(dtype=x.dtype, device=x.device).requires_grad_(False).eval()
    if not callable(found):
        raise UserError(f"function._target_={label} is a {type(found).__name__}, and something to call is needed.")
    if not arguments:
        return found

    def call(x: Tensor) -> Tensor:
        return found(x, **arguments)

    return call


def first_value(call: Callable[[Tensor], Tensor], label: str, x: Tensor) -> Tensor:
    """The value at the start, which must be () or (m,) and made of real numbers."""
    try:
        value = call(x.clone())
    except Exception as error:
        raise UserError(
            f"{label}, called with one tensor (n,), raised {error_line(error)} "
            f"at {[round(v, 6) for v in x[:6].tolist()]}."
        ) from error
    if not isinstance(value, Tensor) or value.dim() > 1 or not value.is_floating_point() or math.prod(value.shape) == 0:
        got = (
            f"a tensor of shape {tuple(value.shape)}, {value.dtype}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise UserError(f"{label} returned {got}; a torch tensor of real numbers, () or (m,), is needed.")
    return value.detach()
