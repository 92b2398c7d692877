"""The way to Captum (the extra ``captum``), and its methods that have a rule for each kind of layer: DeepLift and LRP.

    deeplift       Σ_j a_j = t(x) - t(x₀) by multipliers Δa/Δz of each activation in place of its slope
                   (Shrikumar et al. 2017, section 3, the rescale rule)
    deeplift_shap  its mean over baselines from the training set (Lundberg and Lee 2017, section 4.2)
    lrp            t(x) handed down from layer to layer in the proportions z_ij / (z_j + ε sign z_j)
                   (Bach et al. 2015)

Both replace the chain rule by rules of their own, layer by layer, and so depend on how a function is written and not
only on what it computes. Captum works by hooks on modules and leaves some behind, so that it is given a copy, whose
only output is t. What it cannot see is refused: a ReLU that is called as a function has no module to hook, and DeepLift
is then silently wrong (off by 117 % in a case measured).
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

from calclab.attribution.guard import first_line
from calclab.attribution.question import Found, Question
from calclab.errors import UserError

RULE = "gausslegendre"  # Captum's trapezoid, the default of some, has weights that add up to 1 - 1/steps
LAWFUL = 1e-2  # a gap above this part of the change is told


def captum() -> Any:
    """``captum.attr``; UserError, with what to install, where Captum is not there."""
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
    q: Question,
    attribute: Callable[[Answering, Tensor, Tensor], Tensor],
    every: Tensor | None = None,
    *,
    cost: int = 1,
    law: str = "",
) -> Found:
    """The mean over the baselines ``every`` (K, 1 or B, d), None: those asked for. ``attribute`` takes the module whose
    only output is t, the rows and the baseline of each in the module's shape; ``cost`` gradients a row. Under ``law``,
    the method's name, the values add up to F(x) - F(baseline)."""
    from calclab.attribution.integrated import starts

    net, x = answering(q), shaped(q, q.rows)
    total, start = torch.zeros_like(q.rows), torch.zeros_like(q.score)
    every = q.baselines if every is None else every
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
    """A note where the values do not add up to what they should: ``gap`` (B,) above a hundredth of the mean ``change``
    (B,).

    >>> complete(torch.tensor([0.5]), torch.tensor([1.0]), "lrp")
    ('lrp: the values of some row do not add up: they are off by 50% of the mean change (biases take their part)',)
    >>> complete(torch.tensor([1e-3]), torch.tensor([1.0]), "lrp")
    ()
    """
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


# --- methods with a rule for each kind of layer ---

# What Captum 0.9 has a rule for, by what autograd calls the operation; max-pooling has one, too
RULES: dict[str, tuple[type[nn.Module], ...]] = {
    "Relu": (nn.ReLU,),
    "LeakyRelu": (nn.LeakyReLU,),
    "Elu": (nn.ELU,),
    "Sigmoid": (nn.Sigmoid,),
    "Tanh": (nn.Tanh,),
    "Softplus": (nn.Softplus,),
    "Softmax": (nn.Softmax,),
    "MaxPool2DWithIndices": (nn.MaxPool2d, nn.MaxPool1d),
}
UNRULY = (
    "Gelu", "Silu", "Hardtanh", "Hardswish", "Hardsigmoid", "Mish", "Abs", "Clamp", "ClampMin", "ClampMax", "Maximum",
    "Minimum", "PreluKernel", "Pow", "Exp", "Log", "Sqrt", "LogSoftmax", "Logsigmoid", "Sin", "Cos", "NativeLayerNorm",
    "NativeGroupNorm",
)  # fmt: skip


def deeplift(q: Question) -> Found:
    """DeepLift, rescale rule (Shrikumar et al. 2017). Refused where an activation is not a module of its own."""
    hookable(q, "deeplift")
    return over_baselines(
        q, lambda net, x, b: captum().DeepLift(net).attribute(x, baselines=b, target=0), law="deeplift"
    )


def deeplift_shap(q: Question) -> Found:
    """The mean of DeepLift over the rows of the reference (Lundberg and Lee 2017, section 4.2)."""
    hookable(q, "deeplift_shap")
    return over_baselines(
        q,
        lambda net, x, b: captum().DeepLift(net).attribute(x, baselines=b, target=0),
        q.reference[:, None],
        law="deeplift_shap",
    )


def lrp(q: Question) -> Found:
    """Layer-wise relevance propagation, ε rule (Bach et al. 2015): Σ values = F(x), but for what biases take. UserError
    for a network with layers that Captum has no rule for."""
    hookable(q, "lrp")
    net, x = answering(q), shaped(q, q.rows)
    try:
        values = captum().LRP(net).attribute(x, target=0)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"lrp: Captum has no rule for this network ({first_line(error)}). Type method=integrated_gradients"
        ) from None
    flat = values.detach().reshape(q.rows.shape)
    q.gradients_taken += len(flat)
    gap = flat.sum(1) - q.score
    return Found(flat, None, "", gap, torch.zeros_like(gap), notes=complete(gap, q.score, "lrp"))


def hookable(q: Question, method: str) -> None:
    """UserError where an operation that bends is not a module of its own, each called once: Captum would not see it.
    Counted by what was recorded: as many operations of a kind as there are modules of it, none without a rule, and no
    product of two branches."""
    bending = [node.name for node in q.recording.nodes if node.name in (*RULES, *UNRULY)]
    unruly = [name for name in bending if name in UNRULY]
    if unruly:
        raise UserError(
            f"{method}: Captum has no rule for {', '.join(sorted(set(unruly)))} and would take it for linear. "
            "Type method=integrated_gradients"
        )
    products = [n.name for n in q.recording.nodes if n.name in ("Mul", "Bmm", "Mm", "Baddbmm") and sum(n.moving) > 1]
    if products:
        raise UserError(
            f"{method}: the network multiplies what comes from the input with itself ({products[0]}), and Captum has "
            "no rule for that. Type method=integrated_gradients"
        )
    for name, kinds in RULES.items():
        done = bending.count(name)
        modules = sum(isinstance(m, kinds) for m in q.model.module.modules())
        if done > modules:
            raise UserError(
                f"{method}: {name} is done {done} times, and only {modules} modules do it: it is called as a function, "
                f"or one module is used again, which Captum cannot see and would be silently wrong about. Give each "
                f"its own {kinds[0].__name__} module, or type method=integrated_gradients"
            )


METHODS = {method.__name__: quiet(method) for method in (deeplift, deeplift_shap, lrp)}
