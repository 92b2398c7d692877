"""What a step of a training shows by itself, without a pass of its own: the gradient's norms, the rates, the loss where
it can be overheard; and the weights that a bad step started from.

Before a step of the optimizer the gradient is there, and so are the weights at which it was taken: a hook of its reads
one norm a parameter, in a single pass over the gradient. Where they are not finite, the weights are copied before the
step spoils them: so the first bad step can be taken again as it was. Nothing is hung on the model; a criterion that is
a module has a hook, which copies and pickles of it leave behind, and which torch.compile does not see.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StepRecord:
    """``loss`` is NaN where it was not heard. ``norms`` are of the gradient, by parameter, without those that had none
    (``without``). ``rates`` are those of the optimizer's groups."""

    step: int
    loss: float = math.nan
    heard: bool = False  # whether the loss is known, finite or not
    norms: Mapping[str, float] = field(default_factory=dict)
    without: Sequence[str] = ()
    rates: Sequence[float] = ()

    @property
    def norm(self) -> float:
        """‖g‖ of all together."""
        return math.hypot(*self.norms.values()) if self.norms else 0.0


@dataclass(frozen=True)
class Start:
    """What a forward pass began with: the random state of torch after the step before, and autocast's type where it was
    on as the criterion was called."""

    random: Tensor
    autocast: torch.dtype | None


@dataclass(frozen=True)
class Spoiled:
    """A step that was given what is not finite: the weights it started from (copies), and the parameters concerned."""

    weights: Mapping[str, Tensor]
    gradients: Sequence[str]  # of which the gradient is not finite
    broken: Sequence[str]  # of which the weights already were not
    start: Start


class Recorder:
    """Overhears a training. ``parameters`` are those trained, by name; ``spent`` is told the seconds it took."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Mapping[str, Tensor],
        criterion: Any = None,
        spent: Callable[[float], Any] = lambda _: None,
    ) -> None:
        self.parameters, self.spent = dict(parameters), spent
        self.device = next(iter(self.parameters.values())).device.type if self.parameters else "cpu"
        self.spoiled: Spoiled | None = None
        self._random = torch.get_rng_state()
        self._autocast: torch.dtype | None = None
        self._loss: Tensor | None = None
        self._norms: dict[str, float] = {}
        self._without: list[str] = []
        self._rates: list[float] = []
        self._handles: list[Any] = [optimizer.register_step_pre_hook(Listener(self, "before"))]
        if isinstance(criterion, nn.Module):
            self._handles.append(criterion.register_forward_hook(Listener(self, "said")))

    @property
    def start(self) -> Start:
        return Start(self._random, self._autocast)

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def said(self, _: nn.Module, __: Any, loss: Any) -> None:
        """The criterion has been called; of a training, where its loss has a gradient."""
        if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
            self._loss = loss.detach()
            self._autocast = torch.get_autocast_dtype(self.device) if torch.is_autocast_enabled(self.device) else None

    def before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """A step is about to be taken."""
        begun = time.perf_counter()
        having = {name: gradient for name, p in self.parameters.items() if (gradient := values(p.grad)) is not None}
        self._without = [name for name in self.parameters if name not in having]
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._norms = dict(zip(having, norms(list(having.values())), strict=True))
        lost = self._loss is not None and not bool(self._loss.isfinite())
        if self.spoiled is None and (lost or not math.isfinite(sum(self._norms.values()))):
            self.spoil(having, lost)
        self.spent(time.perf_counter() - begun)

    def spoil(self, having: Mapping[str, Tensor], lost: bool) -> None:
        """Keep the weights, if the loss is ``lost`` or a gradient really is no number: a norm may overflow where the
        entries do not."""
        suspects = [name for name, norm in self._norms.items() if not math.isfinite(norm)]
        gradients = [name for name in suspects if not bool(having[name].isfinite().all())]
        for name in set(suspects) - set(gradients):
            self._norms[name] = float(having[name].double().norm())
        if gradients or lost:
            self.spoiled = self.copied(gradients)

    def copied(self, gradients: Sequence[str] = ()) -> Spoiled:
        """The weights of now."""
        weights = {name: p.detach().clone() for name, p in self.parameters.items()}
        broken = [name for name, p in weights.items() if not bool(p.isfinite().all())]
        return Spoiled(weights, gradients, broken, self.start)

    def taken(self, step: int) -> StepRecord:
        """What the step that has been taken showed; the next one is listened for."""
        heard = self._loss is not None
        loss = float(self._loss) if self._loss is not None else math.nan
        found = StepRecord(step, loss, heard, self._norms, self._without, self._rates)
        self._random, self._loss, self._norms, self._without = torch.get_rng_state(), None, {}, []
        return found


class Listener:
    """A hook that calls a method of a recorder as long as that lives; in copies and pickles it is deaf."""

    def __init__(self, recorder: Recorder | None = None, method: str = "") -> None:
        self.method = None if recorder is None else weakref.WeakMethod(getattr(recorder, method))

    def __call__(self, *arguments: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if self.method is not None and (call := self.method()) is not None:
            call(*arguments)

    def __deepcopy__(self, _: Any) -> Listener:
        return Listener()

    def __reduce__(self) -> Any:
        return Listener, ()


def values(gradient: Tensor | None) -> Tensor | None:
    """The numbers of a gradient, dense or sparse."""
    if gradient is None or gradient.layout is torch.strided:
        return gradient
    return gradient.coalesce().values() if gradient.layout is torch.sparse_coo else gradient.to_dense()


def norms(tensors: list[Tensor]) -> list[float]:
    """The Euclidean norm of each, read at once; in float32 at least, where 16 bits would overflow."""
    if not tensors:
        return []
    wide = [t.float() if t.dtype.itemsize < 4 else t for t in tensors]
    found: list[float] = torch.stack([n.float() for n in torch._foreach_norm(wide)]).tolist()
    return found
