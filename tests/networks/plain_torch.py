"""The same questions answered by plain torch in float64: nothing here knows the lab.

θ are the trainable parameters, in the module's order; the loss is the criterion's value on all rows at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property

import numpy as np
import scipy.sparse.linalg
import torch
from network_zoo import Case
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

DENSE = 400  # parameters up to which the Hessian is formed
NODES, PANELS = 8, 12  # of the quadrature along a path


class Plain:
    """Loss, derivatives and spectra of a case."""

    def __init__(self, case: Case) -> None:
        self.case, self.module = case, copy.deepcopy(case.module)
        named = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        self.names, self.shapes = list(named), [p.shape for p in named.values()]
        self.start = torch.cat([p.detach().reshape(-1) for p in named.values()])

    def outputs(self, θ: Tensor, inputs: Tensor) -> Tensor:
        parts = θ.split([shape.numel() for shape in self.shapes])
        shaped = {n: part.reshape(shape) for n, part, shape in zip(self.names, parts, self.shapes, strict=True)}
        found = torch.func.functional_call(self.module, shaped, (inputs,))
        if self.case.output is not None:
            found = found[self.case.output]
        return getattr(found, "logits", found)  # of a Hugging Face network

    def loss(self, θ: Tensor) -> Tensor:
        return self.case.criterion(self.outputs(θ, self.case.inputs), self.case.targets)

    def gradient(self, θ: Tensor | None = None) -> Tensor:
        leaf = (self.start if θ is None else θ).detach().requires_grad_()
        return torch.autograd.grad(self.loss(leaf), leaf)[0]

    def descent(self, lr: float, steps: int) -> Tensor:
        """The losses of gradient descent, (steps + 1,)."""
        θ, found = self.start, []
        for _ in range(steps):
            found.append(self.loss(θ).detach())
            θ = θ - lr * self.gradient(θ)
        return torch.stack([*found, self.loss(θ).detach()])

    @cached_property
    def product(self) -> Callable[[Tensor], Tensor]:
        """v to Hv, by a second pass through the graph of the gradient."""
        leaf = self.start.detach().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
            (g,) = torch.autograd.grad(self.loss(leaf), leaf, create_graph=True)
        return lambda v: torch.autograd.grad(g, leaf, v, retain_graph=True)[0]

    def ends(self, top: int, bottom: int) -> Tensor:
        """The largest eigenvalues of the Hessian, descending, and the smallest, ascending: (top + bottom,)."""
        n = len(self.start)
        if n <= DENSE:
            H = torch.stack([self.product(row) for row in torch.eye(n, dtype=self.start.dtype)])
            λ = torch.linalg.eigvalsh((H + H.T) / 2)
            return torch.cat([λ.flip(0)[:top], λ[:bottom]])
        A = scipy.sparse.linalg.LinearOperator(
            (n, n), matvec=lambda v: self.product(torch.tensor(v.reshape(-1))).numpy(), dtype=np.float64
        )
        v0 = np.random.default_rng(0).standard_normal(n)
        parts = []
        for count, which in ((top, "LA"), (bottom, "SA")):
            λ = scipy.sparse.linalg.eigsh(A, count, which=which, tol=1e-9, v0=v0, ncv=40, return_eigenvectors=False)
            parts.append(torch.tensor(np.sort(λ)[::-1].copy() if which == "LA" else np.sort(λ)))
        return torch.cat(parts)

    def jacobian_norm(self, row: int = 0) -> Tensor:
        """The spectral norm of ∂outputs/∂inputs at a row, of tokens by their entries in the embedding."""
        x = self.case.inputs[row]
        z = self.point(x)

        def call(flat: Tensor) -> Tensor:
            return self.outputs_at(x, flat.reshape(1, *z.shape)).reshape(-1)

        return torch.linalg.matrix_norm(torch.autograd.functional.jacobian(call, z.reshape(-1)), 2)

    def point(self, row: Tensor) -> Tensor:
        """Where gradients are taken: a row, or of tokens their entries in the embedding (T, d)."""
        return row if row.is_floating_point() else self.embedding.weight[row].detach()

    @cached_property
    def embedding(self) -> nn.Embedding:
        """Where tokens are looked up."""
        found: list[nn.Embedding] = []

        def note(part: nn.Embedding, args: tuple[Tensor, ...], _: Tensor) -> None:
            if torch.equal(args[0], self.case.inputs):
                found.append(part)

        hooks = [part.register_forward_hook(note) for part in self.module.modules() if isinstance(part, nn.Embedding)]
        self.module(self.case.inputs)
        for hook in hooks:
            hook.remove()
        return found[0]

    def outputs_at(self, row: Tensor, Z: Tensor) -> Tensor:
        """The outputs (b, m) of a row, at points Z (b, ...) in the place of its own."""
        if row.is_floating_point():
            return self.outputs(self.start, Z).reshape(len(Z), -1)
        ids = row.expand(len(Z), -1)

        def put(_: nn.Module, args: tuple[Tensor, ...], found: Tensor) -> Tensor:
            return Z if torch.equal(args[0], ids) else found  # a decoder looks up other tokens in the same table

        hook = self.embedding.register_forward_hook(put)
        try:
            return self.outputs(self.start, ids).reshape(len(Z), -1)
        finally:
            hook.remove()

    def slopes(self, row: Tensor, Z: Tensor) -> Tensor:
        """Its gradients there (b, ...)."""
        leaf = Z.detach().clone().requires_grad_()
        return torch.autograd.grad(self.outputs_at(row, leaf)[:, 0].sum(), leaf)[0]

    def share(self, row: Tensor, values: Tensor) -> Tensor:
        """Values at a point as those of the row's own numbers: of tokens the sums over the embedding."""
        return (values if row.is_floating_point() else values.sum(-1)).reshape(-1)

    def gradient_times_input(self, row: Tensor) -> Tensor:
        z = self.point(row)
        return self.share(row, z * self.slopes(row, z[None])[0])

    def integrated_gradients(self, row: Tensor) -> tuple[Tensor, float]:
        """z ∫ ∂y/∂z along the straight path from 0, by Gauss and Legendre's rule on parts, and how far half as many
        parts are away."""
        nodes, weights = (torch.tensor(part) for part in np.polynomial.legendre.leggauss(NODES))
        found, z = [], self.point(row)
        for panels in (PANELS, 2 * PANELS):
            t = (torch.arange(panels)[:, None] + (nodes + 1) / 2) / panels
            g = self.slopes(row, t.reshape(-1, *[1] * z.ndim) * z)
            total = torch.tensordot((weights / 2 / panels).repeat(panels), g, 1)
            found.append(self.share(row, z * total))
        return found[1], float((found[1] - found[0]).abs().max())

    def moved(self, row: Tensor) -> Tensor:
        """How far the output is from where all is 0."""
        z = self.point(row)
        ends = self.outputs_at(row, torch.stack([z, torch.zeros_like(z)]))[:, 0].detach()
        return ends[0] - ends[1]

    def gauss_newton(self, top: int) -> Tensor:
        """The largest eigenvalues of JᵀHJ, H = half² that of the loss by the outputs: those of half J Jᵀ half."""
        with torch.no_grad():
            y = self.outputs(self.start, self.case.inputs)
        H = torch.autograd.functional.hessian(lambda z: self.case.criterion(z.reshape(y.shape), self.case.targets), y)
        H = H.reshape(y.numel(), y.numel())
        leaf = self.start.detach().requires_grad_()
        outputs = self.outputs(leaf, self.case.inputs).reshape(-1)
        J = torch.stack([torch.autograd.grad(output, leaf, retain_graph=True)[0] for output in outputs])
        λ, V = torch.linalg.eigh(H)
        half = (V * λ.clamp(min=0).sqrt()) @ V.T @ J
        return torch.linalg.eigvalsh(half @ half.T).flip(0)[:top]
