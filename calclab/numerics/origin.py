"""Where numbers stop being finite on the way from inputs to a loss, and on the way back: the module, the operation in
it, and what went in.

Forward, every operation above autograd is looked at (`Trace`): where what went in is finite and what comes out is
not, there it began, and whatever is made of it inherits that origin, so that the loss knows its own. Infinities that
are meant (a mask of -inf) are none until an operation makes NaN of them. Backward, every node of the graph is looked at
in the order of execution, and the operation is found that made it.

>>> import torch
>>> x = torch.tensor([1.0, 0.0], requires_grad=True)
>>> forward, backward = origins(None, lambda: x.log().sum(), [x])
>>> forward.operation, forward.inputs[0].lowest, forward.why
('log', 0.0, 'the logarithm of 0')
>>> forward, backward = origins(None, lambda: x.sqrt().sum(), [x])
>>> forward, backward.operation, backward.why
(None, 'sqrt', 'the slope of a square root at 0, which is infinite')
"""

from __future__ import annotations

import bisect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from calclab.errors import HERE, own
from calclab.numerics.undefined import Extremes, extremes, why_backward, why_forward

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # names that no user gave
CONSTANTS = {  # operations by which an infinity is written on purpose
    "full", "full_like", "new_full", "masked_fill", "masked_fill_", "fill_", "tensor", "where", "__setitem__",
    "index_fill", "index_fill_", "constant_", "as_tensor", "pad",
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """``module`` is the dotted name ("" for what no module computes, such as a loss function), ``kind`` its class,
    ``operation`` the name in torch, ``source`` the user's own line, ``inputs`` the extremes of what went in (of the
    gradient, going backward: last), ``why`` the cause in words, as far as inputs and operation tell it."""

    module: str
    kind: str
    operation: str
    source: str
    inputs: tuple[Extremes, ...]
    why: str
    inherited: bool = False  # whether numbers that came in were no numbers already

    @property
    def place(self) -> str:
        """The module as it is told: "encoder.2 (ReLU)"."""
        if self.module:
            return f"{self.module} ({self.kind})"
        return self.kind or "the loss"


@dataclass(frozen=True)
class Call:
    """An operation that was called, as far as the way back needs to know it."""

    module: str
    kind: str
    operation: str
    source: str
    inputs: tuple[Extremes, ...]


@dataclass
class Known:
    """What is known of a tensor as long as nobody writes to it."""

    version: int
    values: Extremes
    origin: Origin | None = None  # of numbers that are not finite
    meant: bool = False  # infinities that were written on purpose


@dataclass
class Largest:
    """The largest finite magnitude of what any module gave, and where."""

    value: float = 0.0
    module: str = ""


class Trace(TorchFunctionMode):
    """Looks at every operation that is called within the block."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.known: Any = WeakIdKeyDictionary()
        self.within: list[nn.Module] = []
        self.numbers: list[int] = []  # autograd's sequence numbers of what the calls made, in order
        self.calls: list[Call] = []
        self.first: Origin | None = None
        self.largest = Largest()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if name in ("__get__", "__set__", "__delete__", "backward"):
            return func(*args, **kwargs)
        given = list(numbers((args, kwargs)))
        before = [self.look(value) if isinstance(value, Tensor) else None for value in given]
        inputs = tuple(
            known.values if known is not None else extremes(value)
            for known, value in zip(before, given, strict=True)
            if known is not None or not isinstance(value, Tensor)
        )
        result = func(*args, **kwargs)
        made = [value for value in numbers(result) if isinstance(value, Tensor)]
        if name == "__setitem__":
            made.append(args[0])
        if not made:
            return result
        module, kind = self.place()
        call = Call(module, kind, operation(name), line(), inputs)
        for tensor in made:
            if tensor.grad_fn is not None:
                self.numbers.append(max(tensor.grad_fn._sequence_nr(), self.numbers[-1] if self.numbers else 0))
                self.calls.append(call)
            self.settle(tensor, call, [known for known in before if known is not None], name, (args, kwargs))
        return result

    def settle(self, tensor: Tensor, call: Call, before: Sequence[Known], name: str, given: Any) -> None:
        """What is known of a tensor that an operation gave."""
        if (values := read(tensor)) is None:
            return
        if values.finite:
            self.known[tensor] = Known(tensor._version, values)
            if values.magnitude > self.largest.value and call.module:
                self.largest = Largest(values.magnitude, call.module)
            return
        found = next((known.origin for known in before if known.origin is not None and not known.meant), None)
        meant = found is None and not values.nan and (
            any(known.meant for known in before) or (name in CONSTANTS and written(given))
        )  # fmt: skip
        if found is None:
            why = why_forward(call.operation, call.inputs, values)
            found = Origin(call.module, call.kind, call.operation, call.source, call.inputs, why)
            if not meant and self.first is None:
                self.first = found
        self.known[tensor] = Known(tensor._version, values, found, meant)

    def look(self, tensor: Tensor) -> Known | None:
        """What is known of a tensor that goes into an operation."""
        known = self.known.get(tensor)
        if known is not None and known.version == version(tensor):
            return known
        if (values := read(tensor)) is None:
            return None
        found = Known(version(tensor), values)
        if not values.finite:
            found.origin, found.meant = self.unseen(tensor, values), not values.nan and values.highest <= 0
        self.known[tensor] = found
        return found

    def unseen(self, tensor: Tensor, values: Extremes) -> Origin:
        """The origin of what no operation that is seen has made: data, or what a Function of the user's gave."""
        module, kind = self.place()
        by = tensor.grad_fn.name().removesuffix("Backward") if tensor.grad_fn is not None else ""
        if isinstance(tensor, nn.Parameter) or (tensor.is_leaf and tensor.requires_grad):
            by = "a weight"
        why = "" if by else "it came in from outside"
        return Origin(module, kind, by, line(), (values,), why)

    def place(self) -> tuple[str, str]:
        """Name and class of the innermost named module that is being called."""
        for module in reversed(self.within):
            if (name := self.names.get(id(module))) is not None:
                return name, type(module).__name__
        return "", type(self.within[-1]).__name__ if self.within else ""

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where the numbers in ``tensor`` that are not finite began; None where all are finite."""
        known = self.look(tensor)
        return None if known is None or known.values.finite else known.origin

    def made(self, node: Any) -> Call | None:
        """The call that made a node of the graph."""
        at = bisect.bisect_left(self.numbers, node._sequence_nr())
        return self.calls[at] if at < len(self.calls) else None

    def enter(self, module: nn.Module, _: Any) -> None:
        self.within.append(module)

    def leave(self, module: nn.Module, _: Any, output: Any) -> None:
        """The module has been called. What it gives and no operation that was seen has made (a Function) is its own."""
        for tensor in numbers(output):
            node = tensor.grad_fn if isinstance(tensor, Tensor) else None
            if node is not None and (not self.numbers or node._sequence_nr() > self.numbers[-1]):
                module_name, kind = self.place()
                self.numbers.append(node._sequence_nr())
                self.calls.append(Call(module_name, kind, node.name().removesuffix("Backward"), line(), ()))
        while self.within and self.within.pop() is not module:
            pass


@contextmanager
def traced(model: nn.Module | None) -> Iterator[Trace]:
    """A trace of what is called within the block, that knows the modules of ``model`` by name. Only the thread that
    asks is traced; nothing stays on the modules."""
    names = {id(part): unwrapped(name) for name, part in (model.named_modules() if model is not None else ())}
    trace = Trace(names)
    handles = [
        register_module_forward_pre_hook(trace.enter),
        register_module_forward_hook(trace.leave, always_call=True),
    ]
    try:
        with trace:
            yield trace
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Found:
    """What a pass forward and backward showed: the two origins, the loss, the gradients, the largest activation."""

    forward: Origin | None = None
    backward: Origin | None = None
    loss: float = float("nan")
    gradients: list[Tensor | None] = field(default_factory=list)
    largest: Largest = field(default_factory=Largest)

    def __iter__(self) -> Iterator[Origin | None]:
        return iter((self.forward, self.backward))


def origins(model: nn.Module | None, loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Found:
    """Where the numbers stop being finite in ``loss()``, (), and in its gradient in ``parameters``."""
    found = Found()
    with torch.enable_grad():
        with traced(model) as trace:
            value = loss()
        found.largest = trace.largest
        found.loss = float(value.detach())
        found.forward = trace.origin(value)
        if value.grad_fn is None or not parameters:
            return found
        handles = [node.register_hook(backward_hook(trace, node, found)) for node in graph(value.grad_fn)]
        try:
            found.gradients = list(torch.autograd.grad(value, list(parameters), allow_unused=True))
        finally:
            for handle in handles:
                handle.remove()
    return found


def backward_hook(trace: Trace, node: Any, found: Found) -> Callable[[Any, Any], None]:
    def hook(outgoing: Sequence[Tensor | None], incoming: Sequence[Tensor | None]) -> None:
        if found.backward is not None:
            return
        out = [values for tensor in outgoing if tensor is not None and (values := read(tensor)) is not None]
        if all(values.finite for values in out):
            return
        came = [values for tensor in incoming if tensor is not None and (values := read(tensor)) is not None]
        call = trace.made(node) or Call("", "", "", "", ())
        name = node.name()
        operation = call.operation
        if isinstance(node, torch.autograd.function.BackwardCFunction):  # a Function of the user's, no torch operation
            operation = name.removesuffix("Backward")
        result = next(values for values in out if not values.finite)
        why = why_backward(operation, name, call.inputs, came, result)
        bad = any(values.nan for values in (*call.inputs, *came))
        found.backward = Origin(call.module, call.kind, operation, call.source, (*call.inputs, *came), why, bad)

    return hook


def graph(root: Any) -> list[Any]:
    """The nodes that a backward pass from ``root`` may come through, but for those that only accumulate."""
    seen, open_, nodes = {root}, [root], []
    while open_:
        node = open_.pop()
        if not node.name().endswith("AccumulateGrad"):
            nodes.append(node)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                open_.append(following)
    return nodes


# --- of tensors and names ---------------------------------------------------------------------------------------------


def read(tensor: Tensor) -> Extremes | None:
    """The extremes of a tensor; None of one that holds nothing to be read."""
    if tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return None
    if tensor.layout is not torch.strided:
        tensor = tensor.detach()
        if tensor.layout is not torch.sparse_coo:
            return None
        tensor = tensor._values()
    return extremes(tensor.detach())


def version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def numbers(value: Any) -> Iterator[Tensor | float]:
    """The tensors and floating numbers in nested sequences and dicts."""
    if isinstance(value, Tensor) or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield value
    elif isinstance(value, tuple | list | Mapping):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from numbers(entry)


def written(given: Any) -> bool:
    """Whether an infinite number stands among the arguments."""
    return any(
        (isinstance(value, float) and value in (float("inf"), float("-inf")))
        or (isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point() and bool(value.isinf()))
        for value in numbers(given)
    )


def operation(name: str) -> str:
    """The name in torch, without Python's dunders: "__rtruediv__" is "div", "exp_" is "exp"."""
    bare = name.strip("_") if name.startswith("__") else name.rstrip("_")
    return PYTHONS.get(bare, bare)


PYTHONS = {"truediv": "div", "rtruediv": "div", "itruediv": "div", "rdiv": "div", "idiv": "div", "rpow": "pow",
           "matmul": "matmul", "rmatmul": "matmul", "radd": "add", "iadd": "add", "rsub": "sub", "isub": "sub",
           "rmul": "mul", "imul": "mul", "ipow": "pow"}  # fmt: skip


def line() -> str:
    """The user's own line that is being executed, innermost: "train.py, line 12"; nothing where the lab itself called
    what is executed."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(HERE + os.sep) and path != __file__:
            return ""
        if own(path) and not path.startswith("<"):
            return f"{os.path.basename(path)}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def unwrapped(name: str) -> str:
    """A module's name without what wraps the model (DataParallel, torch.compile)."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
