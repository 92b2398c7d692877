"""Linear networks of several layers: what gradient flow keeps of them, and in which time each mode is learned.

For a loss of W_L ... W_1 alone, gradient flow keeps every difference (Saxe, McClelland and Ganguli, arXiv 1312.6120,
section 1.1; Arora, Cohen and Hazan 2018, theorem 1)

    D_l = W_{l+1}ᵀ W_{l+1} - W_l W_lᵀ,

since both products have the same derivative. A step of gradient descent changes D_l by η² (G_{l+1}ᵀ G_{l+1} - G_l G_lᵀ)
exactly, G_l being the gradients, for what is of first order cancels: over a fixed time the drift is O(η). With ReLU
between the layers the same holds of the diagonal of D_l (Du, Hu and Lee 2018, theorem 2.1): each unit's incoming and
outgoing weights keep the difference of their squared norms.

Of two layers with inputs of covariance I, loss ½ E‖y - W₂W₁x‖² and a balanced start along the singular vectors of
E yxᵀ, each singular value s is learned by itself, a' = 2a(s - a), so that (equations 6 to 8 there)

    a(t) = s e^{2st} / (e^{2st} - 1 + s/a₀):    half of s after the time log(s/a₀ - 1)/(2s), ∝ 1/s.

>>> W1, W2 = torch.eye(2), 2 * torch.eye(2)
>>> imbalance([W1, W2])[0].tolist()
[[3.0, 0.0], [0.0, 3.0]]
>>> s, a0 = torch.tensor([3.0, 1.0]), torch.tensor(0.01)
>>> [round(a, 5) for a in mode_strength(s, a0, half_time(s, a0)).tolist()]
[1.5, 0.5]
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def imbalance(weights: Sequence[Tensor], *, diagonal: bool = False) -> list[Tensor]:
    """D_l for each pair of consecutive layers, of weights (a_l, a_{l-1}): (a_l, a_l), or its ``diagonal`` (a_l,)."""
    found = [above.mT @ above - below @ below.mT for below, above in pairwise(weights)]
    return [D.diagonal() for D in found] if diagonal else found


def mode_strength(s: Tensor, a0: Tensor | float, t: Tensor | float) -> Tensor:
    """a(t), written with e^{-2st} so that it does not overflow."""
    left = torch.exp(-2 * s * t)
    return s / (1 - left + s / a0 * left)


def half_time(s: Tensor, a0: Tensor | float) -> Tensor:
    """When a mode has half of its strength; before the start where it has more."""
    return torch.log(s / a0 - 1) / (2 * s)
