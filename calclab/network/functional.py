"""A model in the functional style: a callable of (parameters, batch), with the parameters beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from calclab.errors import UserError
from calclab.network.call import asked_for_loss


class Tree(nn.Module):
    """Tensors in nested dicts and lists, as parameters: their names are the keys on the way, joined by points."""

    def __init__(self, given: Any, name: str = "parameters") -> None:
        super().__init__()
        pairs = list(given.items() if isinstance(given, Mapping) else enumerate(given))
        self.kind: Any = dict if isinstance(given, Mapping) else list if isinstance(given, list) else tuple
        self.own = {str(key).replace(".", "_"): key for key, _ in pairs}
        if len(self.own) < len(pairs):
            raise UserError(f"{name}: two of its keys read alike: {', '.join(str(key) for key, _ in pairs)}")
        for key, (_, value) in zip(self.own, pairs, strict=True):
            if isinstance(value, Mapping | list | tuple):
                self._modules[key] = Tree(value, f"{name}.{key}")  # which takes any key, such as "type"
            elif not isinstance(value, Tensor):
                raise UserError(f"{name}.{key} is a {type(value).__name__}: parameters are tensors in dicts and lists")
            elif not value.is_floating_point():
                raise UserError(f"{name}.{key} is {value.dtype}: parameters are real numbers, close over others")
            else:
                self._parameters[key] = nn.Parameter(value.detach().clone())

    def now(self) -> Any:
        """The tree as it was given, of the parameters that the module has at present."""
        found = {own: self._parameters.get(key) for key, own in self.own.items()}
        found |= {self.own[key]: part.now() for key, part in self._modules.items() if isinstance(part, Tree)}
        return found if self.kind is dict else self.kind(found.values())


class Functional(Tree):
    """``call`` as a module. ``loss``: it gives the loss of a batch, and by itself the module gives that of each row."""

    def __init__(self, call: Callable[..., Tensor], parameters: Any, *, loss: bool) -> None:
        single = isinstance(parameters, Tensor)
        super().__init__({"parameters": parameters} if single else parameters)
        self.call, self.single, self.loss = call, single, loss

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        given = self.now()["parameters"] if self.single else self.now()
        if not self.loss or asked_for_loss():
            return self.call(given, kwargs or batch(args))
        rows = [slice(i, i + 1) for i in range(len((*args, *kwargs.values())[0]))]
        parts = [{k: x[row] for k, x in kwargs.items()} or batch(tuple(x[row] for x in args)) for row in rows]
        return torch.stack([self.call(given, part) for part in parts])[:, None]


class RowLosses(nn.Module):
    """A module that gives the loss of a batch and nothing else: by itself this gives the loss of each row, (B, 1).

    It has the parameters and parts of that module, under the same names.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.__dict__["whole"] = module  # no part: names stay as they are
        self._parameters, self._buffers, self._modules = module._parameters, module._buffers, module._modules
        self.training = module.training

    def forward(self, *args: Tensor) -> Tensor:
        whole: nn.Module = self.__dict__["whole"]
        if asked_for_loss():
            return whole(*args)
        return torch.stack([whole(*(x[i : i + 1] for x in args)) for i in range(len(args[0]))])[:, None]


def batch(args: tuple[Tensor, ...]) -> Any:
    """What a loader would give: a tuple, or what is alone in it."""
    return args[0] if len(args) == 1 else args
