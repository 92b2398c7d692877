"""Why an operation leaves the finite numbers, from what went in: a logarithm of 0, an overflow, 0/0, a slope at a kink.

Each rule is the operation's domain: what it takes, and where its slope is bounded. What no rule knows is told as what
happened: NaN of finite numbers is undefined, an infinity an overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Extremes:
    """The smallest and largest finite entry, and what else there is. ``limit`` is the largest number of the type,
    ``type`` its name ("" of what is no floating type)."""

    lowest: float
    highest: float
    zero: bool = False
    nan: bool = False
    infinite: bool = False
    limit: float = math.inf
    type: str = ""
    size: int = 1

    @property
    def finite(self) -> bool:
        return not (self.nan or self.infinite)

    @property
    def magnitude(self) -> float:
        return max(abs(self.lowest), abs(self.highest))

    def __str__(self) -> str:
        """ "from -3 to 5e+08", with what is not finite."""
        if not self.size:
            return "nothing"
        if self.lowest > self.highest:
            return "no finite number"
        span = short(self.lowest) if self.lowest == self.highest else f"{short(self.lowest)} to {short(self.highest)}"
        return span + (" and NaN" if self.nan else "") + (" and infinite" if self.infinite else "")


def extremes(value: Tensor | float) -> Extremes:
    """Of a tensor of any shape, or of a plain number.

    >>> str(extremes(torch.tensor([1.0, -2.5, float("nan")])))
    '-2.5 to 1 and NaN'
    """
    if not isinstance(value, Tensor):
        x = float(value)
        if math.isfinite(x):
            return Extremes(x, x, x == 0)
        return Extremes(math.inf, -math.inf, nan=math.isnan(x), infinite=math.isinf(x))
    floats = value.is_floating_point() or value.is_complex()
    limit = torch.finfo(value.dtype).max if floats else math.inf
    name = str(value.dtype).removeprefix("torch.") if floats else ""
    if value.is_complex():
        value = torch.view_as_real(value)
    if not value.numel():
        return Extremes(math.inf, -math.inf, limit=limit, type=name, size=0)
    if floats and value.dtype.itemsize == 1:  # what the eight bits hold fits into float32
        value = value.float()
    low, high = (float(end) for end in torch.aminmax(value))
    size = value.numel()
    if math.isfinite(low) and math.isfinite(high):
        zero = low <= 0 <= high and bool((value == 0).any())
        return Extremes(low, high, zero, limit=limit, type=name, size=size)
    finite = value.isfinite()
    rest = value[finite]
    low, high = (float(end) for end in torch.aminmax(rest)) if rest.numel() else (math.inf, -math.inf)
    zero = bool((rest == 0).any())
    return Extremes(low, high, zero, bool(value.isnan().any()), bool(value.isinf().any()), limit, name, size)


def short(x: float) -> str:
    """Three significant digits."""
    return f"{x:.3g}"


# --- forward ----------------------------------------------------------------------------------------------------------

Reason = Callable[[Sequence[Extremes], Extremes], str]


def why_forward(operation: str, inputs: Sequence[Extremes], result: Extremes) -> str:
    """The cause in words; what went in, ``inputs`` in their order, is finite, or infinite on purpose.

    >>> why_forward("log", [extremes(torch.tensor([2.0, 0.0]))], extremes(-math.inf))
    'the logarithm of 0'
    """
    found = FORWARD[operation](inputs, result) if operation in FORWARD and inputs else ""
    return found or generic(inputs, result)


def generic(inputs: Sequence[Extremes], result: Extremes) -> str:
    """What is known without the operation: what it was given, and how large that is."""
    tensors = [values for values in inputs if values.type] or list(inputs)
    largest = max((values.magnitude for values in tensors if values.lowest <= values.highest), default=0.0)
    if any(not values.size for values in tensors):
        return "it was given no numbers at all"
    if result.nan and not result.infinite:
        if any(values.infinite for values in inputs):
            return "it makes NaN of infinite numbers that were written on purpose (a mask that is -inf throughout)"
        return undefined_or_overflow(largest, result)
    if largest < 1:
        return "it divides by what is 0, or rounded to it"
    return f"{result.type} holds numbers up to {short(result.limit)}: it overflows"


def undefined_or_overflow(largest: float, result: Extremes) -> str:
    """NaN of large numbers is inf - inf on the way."""
    if largest > math.sqrt(result.limit):
        return f"{result.type} holds numbers up to {short(result.limit)}: it overflows on the way"
    return "it is undefined there"


def logarithm(edge: float) -> Reason:
    """ln(x - edge), for x > edge alone: of log1p the edge is -1."""

    def reason(inputs: Sequence[Extremes], result: Extremes) -> str:
        x = inputs[0]
        if x.lowest < edge:
            return f"the logarithm of a negative number ({short(x.lowest - edge)})"
        return "the logarithm of 0" if x.lowest == edge else ""

    return reason


def root(inputs: Sequence[Extremes], result: Extremes) -> str:
    """√x, for x ≥ 0."""
    return f"the square root of a negative number ({short(inputs[0].lowest)})" if inputs[0].lowest < 0 else ""


def reciprocal_root(inputs: Sequence[Extremes], result: Extremes) -> str:
    """1/√x, for x > 0."""
    return root(inputs, result) or ("a division by 0" if inputs[0].zero else "")


def quotient(inputs: Sequence[Extremes], result: Extremes) -> str:
    """The denominator is the last; of a number by a tensor, torch turns the arguments round, and either may be it."""
    zeros = [values.zero for values in inputs[:2]]
    if not any(zeros):
        return ""
    if all(zeros) and result.nan:
        return "0/0"
    return "a division by 0"


def power(inputs: Sequence[Extremes], result: Extremes) -> str:
    """x^p: of x < 0 for whole p alone, of x = 0 for p ≥ 0."""
    base, *exponent = inputs
    least = exponent[0].lowest if exponent else 1.0
    if base.zero and least < 0:
        return f"0 to the power {short(least)}"
    if base.lowest < 0 and exponent and least != round(least):
        return f"a negative number ({short(base.lowest)}) to the power {short(least)}"
    return ""


def exponential(inputs: Sequence[Extremes], result: Extremes) -> str:
    """exp(x) of x > ln of the largest number of its type, 88.7 of float32, 11.1 of float16, is beyond it."""
    most = math.log(result.limit)
    if inputs[0].highest > most:
        return f"the exponential of {short(inputs[0].highest)} overflows: {result.type} ends at exp({short(most)})"
    return ""


def arc(inputs: Sequence[Extremes], result: Extremes) -> str:
    """The inverse of a sine, a cosine, or tanh: for |x| ≤ 1."""
    low, high = inputs[0].lowest, inputs[0].highest
    worst = low if -low > high else high
    return f"it is defined from -1 to 1, and was given {short(worst)}" if abs(worst) >= 1 else ""


def masked(inputs: Sequence[Extremes], result: Extremes) -> str:
    """exp(x_i) / Σ exp(x_j) where each x_j is -inf is 0/0."""
    if any(values.infinite for values in inputs) and result.nan:
        return "a row of it is -inf throughout (all that it could look at is masked)"
    return ""


def spread(inputs: Sequence[Extremes], result: Extremes) -> str:
    """Σ (x - mean)² / (n - 1), which is 0/0 for n = 1."""
    return "the spread of a single number, which has none" if result.nan and inputs[0].magnitude < 1e15 else ""


def average(inputs: Sequence[Extremes], result: Extremes) -> str:
    """Σ x / n, which is 0/0 for n = 0."""
    return "the mean of no numbers" if not inputs[0].size else ""


def normalised(inputs: Sequence[Extremes], result: Extremes) -> str:
    """(x - mean) / √(variance + eps)."""
    if inputs[0].magnitude ** 2 > result.limit:
        return f"the square of {short(inputs[0].magnitude)} overflows {result.type}"
    return "0/0: what it normalises does not vary, and nothing (eps) is added to the variance"


def classified(inputs: Sequence[Extremes], result: Extremes) -> str:
    """The mean over the rows that count, of which there may be none."""
    return (
        "no row counts (every target is the one that is ignored)" if result.nan and inputs[0].magnitude < 1e15 else ""
    )


FORWARD: dict[str, Reason] = {
    "log": logarithm(0), "log2": logarithm(0), "log10": logarithm(0), "log1p": logarithm(-1),
    "sqrt": root, "rsqrt": reciprocal_root, "div": quotient, "divide": quotient, "true_divide": quotient,
    "reciprocal": quotient, "fmod": quotient, "remainder": quotient, "pow": power, "float_power": power,
    "exp": exponential, "expm1": exponential, "exp2": exponential, "cosh": exponential, "sinh": exponential,
    "acos": arc, "asin": arc, "atanh": arc, "arccos": arc, "arcsin": arc, "arctanh": arc,
    "softmax": masked, "log_softmax": masked, "scaled_dot_product_attention": masked,
    "multi_head_attention_forward": masked,
    "std": spread, "var": spread, "std_mean": spread, "var_mean": spread, "mean": average,
    "layer_norm": normalised, "batch_norm": normalised, "group_norm": normalised, "instance_norm": normalised,
    "rms_norm": normalised, "cross_entropy": classified, "nll_loss": classified,
}  # fmt: skip


# --- backward ---------------------------------------------------------------------------------------------------------


def why_backward(
    operation: str, node: str, inputs: Sequence[Extremes], came: Sequence[Extremes], result: Extremes
) -> str:
    """The cause in words; the gradient that came in, ``came``, is finite, or it began where the pass did."""
    if any(values.nan for values in inputs):
        return "what went in on the way forward was no number"
    if operation in BACKWARD and inputs and (found := BACKWARD[operation](inputs, result)):
        return found
    for part, reason in NODES.items():  # what is composed of several operations has nodes of its own
        if node.startswith(part):
            return reason
    largest = max((values.magnitude for values in (*came, *inputs) if values.lowest <= values.highest), default=0.0)
    if largest > math.sqrt(result.limit):
        return f"{result.type} holds numbers up to {short(result.limit)}: the gradient overflows"
    if result.infinite and not result.nan and largest > 1e3:
        return f"the gradient overflows {result.type}"
    return "its slope is not finite there"


NODES = {
    "SqrtBackward": "the slope of a square root at 0, which is infinite",
    "DivBackward": "a division by 0, or by what squares to it",
    "LogBackward": "the slope of a logarithm at 0, which is infinite",
    "RsqrtBackward": "a division by 0",
}


def at_zero(text: str) -> Reason:
    """Of a slope that is infinite at 0."""

    def reason(inputs: Sequence[Extremes], result: Extremes) -> str:
        return text if inputs[0].zero else ""

    return reason


def slope_of_power(inputs: Sequence[Extremes], result: Extremes) -> str:
    """p x^(p-1), which at 0 is infinite for p < 1."""
    base, *exponent = inputs
    if base.zero and exponent and exponent[0].lowest < 1:
        return f"the slope of a power {short(exponent[0].lowest)} at 0, which is infinite"
    return ""


def slope_of_arc(inputs: Sequence[Extremes], result: Extremes) -> str:
    """±1/√(1 - x²), or 1/(1 - x²)."""
    return "its slope at ±1, which is infinite" if inputs[0].magnitude >= 1 else ""


BACKWARD: dict[str, Reason] = {
    "sqrt": at_zero("the slope of a square root at 0, which is infinite"),
    "log": at_zero("the slope of a logarithm at 0, which is infinite"),
    "pow": slope_of_power, "div": quotient, "reciprocal": quotient,
    "acos": slope_of_arc, "asin": slope_of_arc, "arccos": slope_of_arc, "arcsin": slope_of_arc,
    "layer_norm": normalised, "batch_norm": normalised, "group_norm": normalised,
}  # fmt: skip
