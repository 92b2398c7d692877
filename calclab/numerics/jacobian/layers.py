"""The layers of a module that is a plain sequence: each takes what the one before gave, and nothing else is done.

    f = f_L ∘ ... ∘ f_2 ∘ f_1,    J = J_L ... J_2 J_1

Found by one hooked forward pass. What lies between two layers may only be another view of the same memory (a flatten):
a sum, a product, or a write in place ends the sequence, and then there is none. So nothing is believed of a module's
class or its children, only of what was done.

>>> x = torch.randn(1, 3)
>>> plain = nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Tanh())
>>> [layer.name for layer in sequence(plain, plain, x)]
['0', '1', '2']
>>> class Doubled(nn.Module):
...     def __init__(self):
...         super().__init__()
...         self.inner = nn.Linear(3, 3)
...
...     def forward(self, x):
...         return 2 * self.inner(x)
>>> sequence(Doubled(), Doubled(), x) is None  # something is done beside the layers
True
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Run = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Layer:
    """A module without children, with the shapes of one row before and after it."""

    name: str
    module: nn.Module
    before: tuple[int, ...]
    after: tuple[int, ...]


def sequence(module: nn.Module, run: Run, x: Tensor, until: str | None = None) -> tuple[Layer, ...] | None:
    """The layers of ``module`` up to the output of its submodule ``until`` (None: to the end); None where they are no
    plain sequence. ``run`` calls the module on x (B, *shape).
    """
    hooked = any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())
    compiled = any(isinstance(inner, torch.jit.ScriptModule) for inner in module.modules())  # which take no hooks
    if hooked or compiled or x.is_meta:
        return None
    watch = Watch(x, until)
    handles = [inner.register_forward_hook(watch.hook(name)) for name, inner in module.named_modules()]
    try:
        with torch.no_grad():
            result = run(x)
    finally:
        for handle in handles:
            handle.remove()
    if until is None:
        watch.end(result)
    return watch.found


class Watch:
    """Follows a forward pass. A leaf hands on a copy of its output, so that a layer working in place spoils nothing."""

    def __init__(self, x: Tensor, until: str | None) -> None:
        self.until = until
        self.layers: list[Layer] = []
        self.sequential = True
        self.found: tuple[Layer, ...] | None = None
        self.done = False
        self.last, self.version = x, x._version

    def hook(self, name: str) -> Callable[..., Any]:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if self.done:
                return None
            if any(True for _ in module.children()):
                if name == self.until:
                    self.end(output)
                return None
            return self.leaf(name, module, args, output)

        return note

    def leaf(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor | None:
        """Notes a layer and hands on a copy of its output; None, and the sequence is broken, where it was given
        something else than what came last, or several things."""
        fits = len(args) == 1 and isinstance(args[0], Tensor) and isinstance(output, Tensor)
        writes = bool(getattr(module, "inplace", False)) and not passes(module)
        if not (fits and self.same(args[0], self.version + writes)):
            self.sequential = False
            if name == self.until:
                self.done = True
            return None
        self.layers.append(Layer(name, module, tuple(args[0].shape[1:]), tuple(output.shape[1:])))
        self.last = output.clone()
        self.version = self.last._version
        if name == self.until:
            self.end(self.last)
        return self.last

    def same(self, tensor: Tensor, version: int) -> bool:
        """Whether this is what came last, written over no oftener than ``version`` says, maybe in another shape."""
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # under torch.func: no memory of its own
            return False
        last = self.last
        memory = tensor.numel() == last.numel() and tensor.data_ptr() == last.data_ptr() and len(tensor) == len(last)
        return memory and tensor.is_contiguous() and last.is_contiguous() and tensor._version == version

    def end(self, output: Any) -> None:
        """The sequence, where the ``output`` is what came last."""
        if not self.done and self.sequential and self.layers and isinstance(output, Tensor):
            self.found = tuple(self.layers) if self.same(output, self.version) else None
        self.done = True


SHAPES = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
ENTRYWISE = (
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.SELU, nn.CELU, nn.ReLU6),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Mish, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink),
)


def passes(module: nn.Module) -> bool:
    """Whether the layer hands on what it was given (dropout outside of training is one of these)."""
    return type(module) in SHAPES and not (module.training and "Dropout" in type(module).__name__)


def entrywise(module: nn.Module) -> bool:
    """Whether output i depends on input i alone. A module of another class says so by ``entrywise = True``."""
    return type(module) in ENTRYWISE or getattr(module, "entrywise", False) is True


def scale(module: nn.Module) -> Tensor | None:
    """Of batch normalisation that keeps its statistics: γ / √(σ² + ε), one number a channel (C,); None of any other
    layer.

    >>> round(float(scale(nn.BatchNorm1d(2).eval())[0]) ** -2, 6)  # σ² = 1, ε = 1e-5
    1.00001
    >>> scale(nn.Linear(2, 2)) is None
    True
    """
    if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d) or module.training:
        return None
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    if module.running_var is None:
        return None
    root = (module.running_var + module.eps).rsqrt()
    return (root if not module.affine else root * module.weight).detach()


def slopes(module: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """y and dy/dz, entry by entry, of an entrywise layer at z (..., w): as autograd has them, also at kinks.

    >>> slopes(nn.ReLU(), torch.tensor([-1.0, 0.0, 2.0]))
    (tensor([0., 0., 2.]), tensor([0., 0., 1.]))
    """
    kind = type(module)
    with torch.no_grad():
        if kind is nn.ReLU:
            y = torch.relu(z)
            return y, (y > 0).to(z.dtype)
        if kind is nn.Tanh:
            y = torch.tanh(z)
            return y, torch.addcmul(torch.ones((), dtype=z.dtype, device=z.device), y, y, value=-1)
        if kind is nn.Sigmoid:
            y = torch.sigmoid(z)
            return y, y * (1 - y)
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        y = module(leaf.clone())
        (slope,) = torch.autograd.grad(y.sum(), leaf)
    return y.detach(), slope


def flops(layer: Layer) -> int:
    """Multiplications and additions of one row in the layer, about: two for each weight that an output reads, one for
    each output of any other layer.

    >>> flops(Layer("", nn.Linear(10, 5), (10,), (5,)))
    100
    """
    weight = getattr(layer.module, "weight", None)
    size = 1
    for length in layer.after:
        size *= length
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return size
    return 2 * size * weight[0].numel()
