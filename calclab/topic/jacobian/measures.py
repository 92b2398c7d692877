"""What a Jacobian tells at one point: singular values, rank, condition, volume, orientation; and over many points.

    J = U diag(σ) Vᵀ      σ_1 = ‖J‖_2 the most that a small step is stretched, σ_r the least
    κ = σ_1 / σ_r         how much larger a relative error can come out than it went in
    log|det J| = Σ log σ  how a small volume is scaled; its sign tells whether left and right are exchanged

(Golub and Van Loan 2013, sections 2.4 and 2.6.) A singular value below max(m, n) eps σ_1 is rounding: there the rank is
less than full, and κ and the volume's sign tell nothing.

>>> found = of_matrices(torch.tensor([[[0.0, 2.0], [1.0, 0.0]]]))  # a swap, stretched
>>> found["singular_values"], found["condition"], found["log_abs_det"].exp(), orientation(found["orientation"])
(tensor([[2., 1.]]), tensor([2.]), tensor([2.]), 'reversed')
"""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import State

LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the quantiles over points
NAMES = ("least", "10 %", "25 %", "median", "75 %", "90 %", "largest")


def of_matrices(J: Tensor) -> State:
    """Of J (b, m, n): σ (b, r) descending, ‖J‖_F and ‖J‖_2 (b,), κ, rank; of square ones log|det J| and its sign."""
    σ = singular(J)
    found = {
        "singular_values": σ,
        "frobenius_norm": J.flatten(1).norm(dim=1),
        "spectral_norm": σ[:, 0],
        "condition": σ[:, 0] / σ[:, -1],
        "rank": ranks(σ, J.shape[1:]),
    }
    if J.shape[1] == J.shape[2]:
        finite = J.isfinite().all(-1).all(-1)
        sign, log = torch.linalg.slogdet(torch.where(finite[:, None, None], J, 0))
        whole = found["rank"] == J.shape[1]
        found["log_abs_det"] = torch.where(finite, log, torch.nan)
        found["orientation"] = torch.where(finite, torch.where(whole, sign, 0), torch.nan)
    return found


def singular(J: Tensor) -> Tensor:
    """Singular values (b, r), descending; NaN where J (b, m, n) is not finite, which LAPACK would refuse."""
    finite = J.isfinite().all(-1).all(-1)
    σ = torch.linalg.svdvals(torch.where(finite[:, None, None], J, 0))
    return torch.where(finite[:, None], σ, torch.nan)


def ranks(σ: Tensor, shape: torch.Size) -> Tensor:
    """How many σ exceed max(m, n) eps σ_max (Golub and Van Loan, section 5.4.1), as floats: NaN where σ is."""
    least = max(shape) * torch.finfo(σ.dtype).eps * σ[:, :1]
    found = (σ > least).sum(1).to(σ.dtype)
    return torch.where(σ[:, 0].isnan(), torch.nan, found)


def quantiles(values: Tensor) -> Tensor:
    """Of (N, ...) at ``LEVELS``, (7, ...): those of the entries that are not NaN, nearest ones, none made up.

    >>> quantiles(torch.tensor([3.0, float("nan"), 1.0, 2.0]))
    tensor([1., 1., 1., 2., 3., 3., 3.])
    """
    order = values.sort(0).values  # NaN last
    known = (~values.isnan()).sum(0, keepdim=True)
    levels = torch.tensor(LEVELS, dtype=torch.float64 if values.device.type != "mps" else values.dtype)
    levels = levels.to(values.device).reshape(-1, *[1] * (values.ndim - 1))
    place = (levels * (known - 1).clamp(min=0)).round().long()
    return torch.where(known > 0, order.gather(0, place.expand(-1, *values.shape[1:])), torch.nan)


def conditions(κ: Tensor, rank: Tensor, full: int) -> Tensor:
    """Quantiles of the condition numbers κ (N,) of Jacobians of ``full`` rank: those of others are mere rounding. Where
    none has it, they are infinite."""
    found = quantiles(torch.where(rank < full, torch.nan, κ))
    return torch.where((rank < full).all(), torch.inf, found)


def orientation(sign: Tensor | float) -> str:
    """What becomes of left and right."""
    word = {1.0: "preserved", -1.0: "reversed", 0.0: "lost: singular to working precision"}
    return word.get(float(sign), "undefined")
