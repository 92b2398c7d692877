"""What a loss says of the outputs of a row: its Hessian there, a square root of it, draws from the model.

Outputs are y (b, m); the Hessian of the loss in y is one (m, m) block a row, positive semidefinite for the losses of
the lab. Factors (b, m, s) hold s columns of a row side by side: H_b = S_b S_bᵀ.

    cross_entropy   H = diag(p) - p pᵀ,  p = softmax(y)      S = diag(√p) - p √pᵀ
    mse             H = 2/m I                                half_mse  H = I
    bce             H = diag(p (1 - p))/m,  p = σ(y)         huber     H = 1/m where |y - t| <= 1, else 0

S for cross-entropy: S Sᵀ = diag(p) - 2 p pᵀ + p pᵀ Σ p = H, as Σ p = 1. Losses of the user's own are asked through
autograd, column by column, and their root comes from eigenvalues; one that is not convex in y has none: UserError.

>>> cross_entropy = Loss("cross_entropy", lambda y, t: torch.nn.functional.cross_entropy(y, t, reduction="none"))
>>> y, t = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64), torch.tensor([2])
>>> S = root(cross_entropy, y, t)
>>> p = torch.softmax(y[0], dim=0)
>>> torch.allclose(S[0] @ S[0].T, torch.diag(p) - torch.outer(p, p))
True
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.network.loss import Loss, wanted

Middle = Callable[[Tensor], Tensor]  # a change of the outputs (b, m) to a pull on them (b, m)
FLAT = {"sum", "mae"}  # losses that do not curve
DRAWN = ("cross_entropy", "bce", "mse", "half_mse")  # losses that are likelihoods


def hessian(loss: Loss, outputs: Tensor, targets: Tensor) -> Middle:
    """z (b, m) to H_b z_b for every row, H_b the Hessian of the row's loss."""
    y = outputs.detach()
    match loss.name:
        case "cross_entropy":
            p = torch.softmax(y, dim=1)
            return lambda z: p * (z - (p * z).sum(dim=1, keepdim=True))
        case "mse" | "half_mse" | "huber" | "bce":
            d = diagonal(loss.name, y, targets)
            return lambda z: d * z
        case name if name in FLAT:
            return torch.zeros_like
    with torch.enable_grad():
        leaf = y.requires_grad_()
        (g,) = torch.autograd.grad(loss.total(leaf, targets), leaf, create_graph=True)

    def product(z: Tensor) -> Tensor:
        if not g.requires_grad:
            return torch.zeros_like(z)
        (found,) = torch.autograd.grad(g, leaf, z, retain_graph=True, allow_unused=True)
        return torch.zeros_like(z) if found is None else found

    return product


def diagonal(name: str, y: Tensor, targets: Tensor) -> Tensor:
    """The second derivatives (b, m) of a loss that is a sum over the outputs."""
    m = y.shape[1]
    if name == "mse":
        return torch.full_like(y, 2 / m)
    if name == "half_mse":
        return torch.ones_like(y)
    if name == "huber":
        return ((y - wanted(y, targets)).abs() <= 1).to(y.dtype) / m
    return torch.sigmoid(y) * torch.sigmoid(-y) / m


def root(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """S (b, m, s) with S Sᵀ the Hessian of each row's loss; where it is not semidefinite, a UserError."""
    y = outputs.detach()
    match loss.name:
        case "cross_entropy":  # diag(p) - ppᵀ = S Sᵀ with S = diag(√p) - p √pᵀ, whose last column follows
            p = torch.softmax(y, dim=1)
            return torch.diag_embed(p.sqrt()) - p[:, :, None] * p.sqrt()[:, None, :]
        case "mse" | "half_mse" | "huber" | "bce":
            return torch.diag_embed(diagonal(loss.name, y, targets).sqrt())
        case name if name in FLAT:
            return y.new_zeros(*y.shape, 1)
    H = blocks(loss, y, targets)
    λ, U = torch.linalg.eigh(H)
    if bool((λ[:, 0] < -1e-4 * λ[:, -1].abs().clamp(min=torch.finfo(y.dtype).tiny) - torch.finfo(y.dtype).eps).any()):
        raise UserError(
            f"the loss {loss.name} is not convex in the outputs: its Gauss-Newton matrix has no square root"
        )
    return U * λ.clamp(min=0).sqrt()[:, None, :]


def blocks(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """H (b, m, m), the Hessian of each row's loss, from m products.

    All rows share a product: that a row's loss does not depend on the outputs of another is what makes its columns
    fall apart by rows.
    """
    product = hessian(loss, outputs, targets)
    b, m = outputs.shape
    columns = []
    for i in range(m):
        basis = outputs.new_zeros(b, m)
        basis[:, i] = 1
        columns.append(product(basis))
    H = torch.stack(columns, dim=2)
    return (H + H.mT) / 2


def slopes(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient of each row's loss in its outputs, (b, m, 1)."""
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss.total(leaf, targets), leaf)
    return g[:, :, None]


def noise(loss: Loss, rows: int, m: int, samples: int, like: Tensor, seed: int) -> Tensor:
    """What the draws of all rows are made of, (B, 1 or m, s), so that they are the same whatever the chunks."""
    if loss.name not in DRAWN:
        raise UserError(
            f"the loss {loss.name} is no likelihood whose targets could be drawn. Those of {', '.join(DRAWN)} are. "
            "Ask for gauss_newton instead"
        )
    generator = torch.Generator(like.device).manual_seed(seed)
    make = torch.rand if loss.name in ("cross_entropy", "bce") else torch.randn
    entries = 1 if loss.name == "cross_entropy" else m
    return make(rows, entries, samples, dtype=like.dtype, device=like.device, generator=generator)


def draws(loss: Loss, outputs: Tensor, noise: Tensor) -> Tensor:
    """(b, m, s): gradients of the loss at targets drawn from what the network predicts, over √s.

    Cross-entropy draws a class, bce a bit for each output, squared errors a normal number with the variance that makes
    the loss its negative log-likelihood; then E d dᵀ = H (Martens 2020, section 5).
    """
    y = outputs.detach()
    m = y.shape[1]
    if loss.name == "cross_entropy":
        p = torch.softmax(y, dim=1)
        drawn = torch.searchsorted(p.cumsum(dim=1), noise[:, 0]).clamp(max=m - 1)
        d = p[:, :, None] - torch.nn.functional.one_hot(drawn, m).mT.to(y.dtype)
    elif loss.name == "bce":  # the mean of the outputs' losses is 1/m of a likelihood: so is its Hessian
        p = torch.sigmoid(y)[:, :, None]
        d = (p - (noise < p).to(y.dtype)) / m**0.5
    else:
        d = (2 / m if loss.name == "mse" else 1.0) ** 0.5 * noise
    return d / noise.shape[2] ** 0.5


def through(factor: Tensor) -> Middle:
    """z (b, m) to D Dᵀ z for the factors D (b, m, s) of the rows."""

    def product(z: Tensor) -> Tensor:
        w = (factor * z[:, :, None]).sum(dim=1)
        return (factor * w[:, None, :]).sum(dim=2)

    return product
