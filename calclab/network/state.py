"""What a module remembers from one call to the next: buffers, and attributes that are no parameters.

A module that counts its calls, or moves a running mean even in eval mode, is a function of its parameters and input
only if every call finds the same state. So each is given copies, and what it made of them is thrown away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

CONTAINERS = (list, dict, set, deque)
TORCHS = frozenset(vars(nn.Module())) - {"training"}  # attributes that every module has


class State:
    """The state of a module as it is now."""

    def __init__(self, module: nn.Module) -> None:
        self.parts = [
            (name, part) for name, part in module.named_modules() if not isinstance(part, torch.jit.ScriptModule)
        ]
        self.buffers = {name: dict(part._buffers) for name, part in self.parts}
        self.others = {name: others(part) for name, part in self.parts}

    def lend(self) -> None:
        """Put a copy of everything that can be written over in its place."""
        made: dict[int, Any] = {}

        def copied(value: Any) -> Any:
            if isinstance(value, Tensor) and not nn.parameter.is_lazy(value):
                return made.setdefault(id(value), value.detach().clone())
            if type(value) in CONTAINERS:
                return made.setdefault(id(value), value.copy())
            return value

        for name, part in self.parts:
            part._buffers.update({key: copied(value) for key, value in self.buffers[name].items()})
            vars(part).update({key: copied(value) for key, value in self.others[name].items()})

    def restore(self) -> None:
        """Put back everything as it was."""
        for name, part in self.parts:
            for held, before in ((part._buffers, self.buffers[name]), (vars(part), self.others[name])):
                for key in set(others(part) if held is vars(part) else held) - before.keys():
                    del held[key]
                held.update(before)

    def changed(self) -> list[str]:
        """Names of what is no longer as it was lent; attributes that are new (a tensor that is remembered) are none."""
        found = []
        for name, part in self.parts:
            for now, before in ((part._buffers, self.buffers[name]), (vars(part), self.others[name])):
                for key, value in before.items():
                    if key not in now or differs(now[key], value):
                        found.append(f"{name}.{key}" if name else key)
        return found


def others(part: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in vars(part).items() if key not in TORCHS}


def differs(now: Any, before: Any) -> bool:
    """Whether ``now`` does not hold what ``before`` does."""
    if isinstance(before, Tensor):
        if nn.parameter.is_lazy(before):
            return False
        same = isinstance(now, Tensor) and now.shape == before.shape and now.dtype == before.dtype
        return not (same and (now.is_meta or torch.equal(now.nan_to_num(), before.nan_to_num())))
    if type(before) in CONTAINERS:
        if type(now) is not type(before) or len(now) != len(before):
            return True
        if isinstance(before, dict):
            return any(key not in now or not same_item(now[key], value) for key, value in before.items())
        return not all(map(same_item, now, before))
    return not same_item(now, before)


def same_item(now: Any, before: Any) -> bool:
    return now is before or (type(now) is type(before) and isinstance(now, int | float | str) and now == before)


_open: list[nn.Module] = []  # the networks whose state is kept at present


@contextmanager
def kept(module: nn.Module) -> Iterator[None]:
    """The module's state is what it was, whatever is called within the block."""
    state = State(module)
    state.lend()
    _open.append(module)
    try:
        yield
    finally:
        _open.pop()
        state.restore()


def kept_alone(part: nn.Module) -> AbstractContextManager[None]:
    """The same of a part that is called by itself; within a call of the whole, what it remembers is for its next."""
    return nullcontext() if _open else kept(part)
