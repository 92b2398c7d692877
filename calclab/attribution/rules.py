"""Captum's methods that have a rule for each kind of layer: DeepLift and LRP.

What Captum cannot see is refused: a ReLU that is called as a function has no module to hook, and DeepLift is then
silently wrong (off by 117 % in a case measured).
"""

from __future__ import annotations

import torch
from torch import nn

from calclab.attribution.bridge import answering, captum, complete, over_baselines, quiet, shaped
from calclab.attribution.guard import first_line
from calclab.attribution.question import Question
from calclab.attribution.result import Found
from calclab.errors import UserError

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
    reference = q.reference()
    q.baselines = lambda: reference[:, None]
    return over_baselines(
        q, lambda net, x, b: captum().DeepLift(net).attribute(x, baselines=b, target=0), law="deeplift_shap"
    )


def lrp(q: Question) -> Found:
    """Layer-wise relevance propagation, ε rule (Bach et al. 2015): Σ values = F(x), but for what biases take."""
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
    """UserError where an operation that bends is not a module of its own, each called once: Captum would not see it."""
    bending = [node.name for node in q.look.nodes if node.name in (*RULES, *UNRULY)]
    unruly = [name for name in bending if name in UNRULY]
    if unruly:
        raise UserError(
            f"{method}: Captum has no rule for {', '.join(sorted(set(unruly)))} and would take it for linear. "
            "Type method=integrated_gradients"
        )
    products = [n.name for n in q.look.nodes if n.name in ("Mul", "Bmm", "Mm", "Baddbmm") and sum(n.moving) > 1]
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
