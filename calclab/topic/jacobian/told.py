"""The sentence and the numbers of an answer about layers: whether the gradient vanishes, where conditioning is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import Answer, State
from calclab.topic import words

if TYPE_CHECKING:
    from calclab.topic.jacobian.across import LayerScan

FAR = 1e3  # a gradient vanishes or explodes when it changes by this much in all, or by 2 a layer and 10 in all


def answer(scan: LayerScan, state: State) -> Answer:
    """Of all layers."""
    names, tails = scan.tape.names, state["seen.gradient_norm"]
    word, factor = word_of(scan.weighted, tails)
    values: dict[str, Tensor | str] = {"layers": torch.tensor(len(names)), "word": word, "gradient_norms": tails}
    text = f"{len(names)} layer{'s' * (len(names) > 1)}: the gradient is {word}"
    if factor is not None:
        first, last = scan.weighted[0], scan.weighted[-1]
        values["factor"] = factor
        text += (
            f" (factor {words.number(factor)} per layer, ‖∂y/∂a‖ from {words.number(tails[last])} at {names[last]} "
            f"to {words.number(tails[first])} at {names[first]})"
        )
    if "singular_values" in state:
        σ = state["singular_values"]
        κ, lost = state["seen.condition"], state["seen.lost"]
        at = int(lost.argmax())
        values |= {
            "condition": κ[-1],
            "conditions": κ,
            "lost": lost,
            "most_lost_at": names[at],
            "spectral_norm": σ[:, 0].median(),
            "median_singular_value": σ.median(),
            "singular_values": σ.median(0).values,
        }
        end = "the outputs" if scan.followed.ends else names[-1]
        text += (
            f"; condition number from the input to {end} {words.number(κ[-1])} "
            f"({verdict(float(κ[-1]), scan.threshold, σ)}), most of it lost at {names[at]} (a factor of "
            f"{words.number(10 ** lost[at])}); median singular value {words.number(σ.median())}"
        )
    else:
        text += "; the way from the input is too large to be formed"
    return Answer(text, values)


def word_of(weighted: list[int], tails: Tensor) -> tuple[str, Tensor | None]:
    """Vanishing, exploding or steady, towards the input; and the geometric mean of the factors per layer."""
    if len(weighted) < 2:
        return "that of one layer: nothing to compare", None
    total = tails[weighted[0]] / tails[weighted[-1]]
    factor = total ** (1 / (len(weighted) - 1))
    if not bool(total.isfinite()):
        return "zero or not finite at the last layer", None
    for word, f, t in (("vanishing", 1 / factor, 1 / total), ("exploding", factor, total)):
        if bool(t > FAR) or (bool(f > 2) and bool(t > 10)):
            return word, factor
    return "steady", factor


def verdict(κ: float, threshold: float, σ: Tensor) -> str:
    if κ >= 0.99 / (σ.shape[1] * torch.finfo(σ.dtype).eps):
        return "singular to working precision"
    return "well-conditioned" if κ <= threshold else "ill-conditioned"
