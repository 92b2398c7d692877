"""A module as a function of its tensors: parameters are put in the place of its own, and what it remembers from one
call to the next (buffers, attributes that are no parameters) is lent, and thrown away.

A module that counts its calls, or moves a running mean even in eval mode, is a function of its parameters and input
only if every call finds the same state. torch.func.functional_call looks every name up again: for 1-100-100-1 units and
20 rows it took 44 µs more than the module by itself (62 µs; loss and gradient 440). Here it is found once which dicts
of which modules hold a tensor, and a call takes 3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

Place = tuple[dict[str, Any], str]  # of a module's parameters or buffers, and a name in it


class Stateless:
    """(parameters by name, what the module takes) to what it gives. The module is as it was after every call, whatever
    it does in it.

    A tensor under several names (tied weights) is known by each of them and put in all places at once. Buffers are
    handed over as copies, so that a module that writes to them even in eval mode is still a function.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        places: dict[int, list[Place]] = {}
        for held in module.modules():  # each once, whatever the number of its names
            for tensors in (held._parameters, held._buffers):
                for key, tensor in tensors.items():
                    if tensor is not None:
                        places.setdefault(id(tensor), []).append((tensors, key))
        self.parameters = {
            name: places[id(p)] for name, p in module.named_parameters(remove_duplicate=False) if id(p) in places
        }
        self.buffers = [places[id(b)] for b in module.buffers()]
        self.layers, self.parts = layers(module), list(module.modules())

    def __call__(self, parameters: Mapping[str, Tensor], *inputs: Tensor) -> Any:
        """What the module returns, with the parameters given in the place of its own."""
        if self.layers is None or hooked(self.parts):
            return self.within(parameters, self.module, *inputs)
        return self.within(parameters, straight, self.layers, *inputs)

    def within(self, parameters: Mapping[str, Tensor], call: Callable[..., Any], *arguments: Any) -> Any:
        """What ``call`` returns, which may call the module as it likes, with the parameters given in place."""
        before: list[tuple[dict[str, Any], str, Any]] = []
        try:
            for name, tensor in parameters.items():
                for tensors, key in self.parameters[name]:
                    before.append((tensors, key, tensors[key]))
                    tensors[key] = tensor
            for places in self.buffers:
                held, at = places[0]
                if (buffer := held[at]) is not None:
                    lent = buffer.detach().clone()
                    for tensors, key in places:
                        before.append((tensors, key, tensors[key]))
                        tensors[key] = lent
            return call(*arguments)
        finally:
            for tensors, key, own in reversed(before):
                tensors[key] = own


def layers(module: nn.Module) -> list[nn.Module] | None:
    """The layers of torch's own of which ``module`` is a plain sequence; None where it is anything else."""
    if "forward" in vars(module):
        return None
    if type(module) is nn.Sequential:
        parts = [layers(part) for part in module]
        return None if None in parts else [layer for part in parts if part is not None for layer in part]
    return [module] if type(module).__module__.startswith("torch.nn.modules.") and not module._modules else None


def hooked(parts: Sequence[nn.Module]) -> bool:
    """Whether a call of one of these modules is more than its forward."""
    return _has_any_global_hook() or any(  # type: ignore[no-untyped-call]
        part._forward_hooks
        or part._forward_pre_hooks
        or part._backward_hooks
        or part._backward_pre_hooks
        or part._compiled_call_impl is not None
        for part in parts
    )


def straight(layers: Sequence[nn.Module], x: Any) -> Any:
    """What a call of their sequence does. Of small layers half of the time goes to asking each for hooks."""
    for layer in layers:
        x = layer.forward(x)
    return x


# --- what a module remembers ------------------------------------------------------------------------------------------


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
