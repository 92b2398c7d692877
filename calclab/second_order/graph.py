"""The graph of a chunk of rows, kept for as many products as are asked for, alone or several side by side.

    hessian_graph  H v = ∇⟨∇L, v⟩: the gradient is computed once on a graph of its own, and each product is a backward
                   pass through it (Pearlmutter 1994): about two gradients' time
    factor_graph   G v = Jᵀ M J v: u ↦ Jᵀu is linear in u, so that its backward pass at v is J v (the double backward
                   trick), M works on outputs alone, and another backward pass brings the result home
    rows_graph     the same from the rows of J, where an operation has no second derivative

All need a network that is twice differentiable where it stands; at a kink they have what autograd has there. Products
keep the graph, so that memory is what the forward and the backward pass save, and time is spent once.

>>> import calclab
>>> line = torch.nn.Linear(1, 1).double()
>>> loss = calclab.loss(line, "half_mse", (torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)))
>>> about = subject(loss, loss.data, None, tuple(loss.shapes))
>>> product = hessian_graph(about, slice(0, 2))  # of the sum over the rows: Σ (x, 1)ᵀ(x, 1)
>>> [part.flatten().tolist() for part in product([torch.ones(1, 1).double(), torch.zeros(1).double()], False)]
[[5.0], [3.0]]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.core.rows import row_wise
from calclab.errors import UserError
from calclab.second_order.outputs import Middle
from calclab.subject.network import Network

Tensors = Sequence[Tensor]
FEW = 2  # rows that tell whether a backward pass can be differentiated
ROWS = 2**24  # numbers of a Jacobian that are kept
Apply = Callable[[list[Tensor], bool], list[Tensor]]  # a change of each leaf, one or many (p, ...), to the product
Factor = Callable[[Tensor, slice], Middle]  # outputs (b, m) of a window's rows to what stands between J and Jᵀ


@dataclass(frozen=True)
class Subject:
    """What is differentiated: a network at a point, by the parameters ``names``, over the rows of ``data``."""

    network: Network
    data: Data
    parameters: Mapping[str, Tensor]
    names: tuple[str, ...]

    @property
    def weight(self) -> float:
        """What the sum over the rows is multiplied by: 1/B of a loss that is a mean."""
        return 1 / self.network.amount(self.data.inputs, self.data.targets)

    def leaves(self) -> list[Tensor]:
        return [self.parameters[name].detach().requires_grad_() for name in self.names]

    def outputs(self, leaves: Tensors, window: slice) -> Tensor:
        """(b, m), on the graph of the leaves."""
        return self.network.evaluate(self.data.inputs[window], self.given(leaves))

    def given(self, leaves: Tensors) -> dict[str, Tensor]:
        return {**self.parameters, **dict(zip(self.names, leaves, strict=True))}

    def total(self, leaves: Tensors, window: slice) -> Tensor:
        """The sum of the losses of the rows, ()."""
        return self.network.total(self.given(leaves), self.data.inputs[window], self.data.targets[window])

    def some(self, count: int) -> Subject:
        """The same over no more than ``count`` rows, spread evenly over all."""
        return replace(self, data=self.data.some(count))


def subject(network: Network, data: Data, at: Tensor | None, names: tuple[str, ...]) -> Subject:
    """Convolutions get inputs and kernels with their channels last, which is 1.6 times quicker on a ResNet; not where
    the network asks for a ``view`` that does not exist in that order."""
    parameters: Mapping[str, Tensor] = network.parameters()
    if at is not None:
        if at.shape != (sum(network.sizes),):
            raise UserError(
                f"at has {at.numel()} entries: {network.name} has {sum(network.sizes)} trainable parameters"
            )
        parameters = network.unflatten(at.detach().to(next(iter(parameters.values()))))
    about = Subject(network, data, parameters, names)
    if data.inputs.ndim == 4 and any(isinstance(module, nn.Conv2d) for module in network.module.modules()):
        turned = {name: channels_last(p) for name, p in parameters.items()}
        last = Subject(network, replace(data, inputs=row_wise(data.inputs, channels_last)), turned, names)
        try:
            with torch.no_grad():
                network.evaluate(last.data.inputs[:2], turned)
        except RuntimeError:
            return about
        return last
    return about


def convolves(network: Network) -> bool:
    """Whether there are convolutions, whose products are slower side by side than one after the other."""
    return any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in network.module.modules())


def channels_last(tensor: Tensor) -> Tensor:
    """An image, or a kernel, (N, C, H, W) with its channels last in memory; any other tensor as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def hessian_graph(about: Subject, window: slice) -> Apply:
    """Products with the Hessian of the sum of the losses: backward through the graph of the gradient.

    The result takes a change of each leaf, (...) or (p, ...) with ``batched``, to the product's part of each.
    """
    with torch.enable_grad():
        leaves = about.leaves()
        total = about.total(leaves, window)
        gradient = pull([total], leaves, None, create=True)

    def apply(changes: list[Tensor], batched: bool) -> list[Tensor]:
        return filled(pull(gradient, leaves, changes, batched=batched), leaves, changes, batched)

    return apply


def factor_graph(about: Subject, window: slice, factor: Factor) -> Apply:
    """Products with Σ_b J_bᵀ M_b J_b, M given by ``factor``. u ↦ Jᵀu is linear, so that its own backward pass is J.

    u = 0 is as good a point as any to differentiate a linear map at, and makes the graph of Jᵀu without its value.
    """
    with torch.enable_grad():
        leaves = about.leaves()
        y = about.outputs(leaves, window)
        u = torch.zeros_like(y, requires_grad=True)
        pulled = pull([y], leaves, [u], create=True)
    middle = factor(y.detach(), window)

    def apply(changes: list[Tensor], batched: bool) -> list[Tensor]:
        (moved,) = filled(pull(pulled, [u], changes, batched=batched), [u], changes, batched)
        back = torch.vmap(middle)(moved) if batched else middle(moved)
        return filled(pull([y], leaves, [back], batched=batched), leaves, changes, batched)

    return apply


def rows_graph(about: Subject, window: slice, factor: Factor) -> Apply:
    """The same where torch cannot differentiate the backward pass: J itself, each row of it by a pass, (b·m, k); again
    for every product where it is large."""
    with torch.enable_grad():
        leaves = about.leaves()
        y = about.outputs(leaves, window)
    middle = factor(y.detach(), window)

    def jacobian(first: int, last: int) -> Tensor:
        found = []
        for i in range(first, last):
            one = y.new_zeros(y.numel())
            one[i] = 1
            one = one.view(y.shape)
            found.append(torch.cat([g.reshape(-1) for g in filled(pull([y], leaves, [one]), leaves, leaves, False)]))
        return torch.stack(found)

    size = max(1, ROWS // sum(leaf.numel() for leaf in leaves))
    kept = jacobian(0, y.numel()) if y.numel() <= size else None

    def blocks() -> Iterator[tuple[slice, Tensor]]:
        for first in range(0, y.numel(), size):
            part = slice(first, min(first + size, y.numel()))
            yield part, jacobian(part.start, part.stop) if kept is None else kept[part]

    def apply(changes: list[Tensor], batched: bool) -> list[Tensor]:
        lead = len(changes[0]) if batched else 1
        V = torch.cat([change.reshape(lead, -1) for change in changes], dim=1)
        moved = torch.cat([V @ J.T for _, J in blocks()], dim=1).reshape(lead, *y.shape)
        back = torch.stack([middle(one) for one in moved]).reshape(lead, -1)
        total = sum(back[:, part] @ J for part, J in blocks())
        parts = torch.as_tensor(total).split_with_sizes([leaf.numel() for leaf in leaves], dim=1)
        found = [part.reshape(lead, *leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return found if batched else [part[0] for part in found]

    return apply


def backward_is_linear(about: Subject, factor: Factor) -> bool:
    """Whether torch can differentiate the backward pass: on a few rows, products are those by the rows of J.

    Not only where torch refuses: some operations have a second derivative that is wrong, or silently zero.
    """
    few = about.some(FEW)
    window = slice(0, len(few.data.inputs))
    maker = torch.Generator().manual_seed(0)
    changes = [torch.randn(leaf.shape, generator=maker, dtype=torch.float64).to(leaf) for leaf in few.leaves()]
    try:
        found = factor_graph(few, window, factor)(changes, False)
    except (RuntimeError, NotImplementedError):
        return False
    true = rows_graph(few, window, factor)(changes, False)
    gap = sum(float((left - right).abs().sum()) for left, right in zip(found, true, strict=True))
    return not gap > 1e-3 * sum(float(right.abs().sum()) for right in true)


def pull(
    outputs: Sequence[Tensor | None],
    leaves: Tensors,
    cotangents: Sequence[Tensor] | None,
    *,
    create: bool = False,
    batched: bool = False,
    keep: bool = True,
) -> list[Tensor | None]:
    """Σ (∂output/∂leaf)ᵀ cotangent for every leaf, None where nothing depends on it; ``keep`` keeps the graph.

    ``cotangents`` are of the outputs' shapes, or (p, ...) each with ``batched``; None stands for ones, of a scalar
    output. ``create`` puts the result on a graph of its own, to be differentiated again.

    Outputs that depend on nothing are left out. ``batched``: cotangents (p, ...) in one pass.
    """
    pairs = [
        (output, None if cotangents is None else cotangents[i])
        for i, output in enumerate(outputs)
        if output is not None and output.requires_grad
    ]
    if not pairs:
        return [None] * len(leaves)
    taken = [output for output, _ in pairs]
    used: list[int] = []

    def back(given: Any) -> tuple[Tensor, ...]:
        found = torch.autograd.grad(taken, leaves, given, retain_graph=keep, create_graph=create, allow_unused=True)
        used[:] = [i for i, g in enumerate(found) if g is not None]
        return tuple(g for g in found if g is not None)

    given = None if cotangents is None else [cotangent for _, cotangent in pairs]
    if not batched:
        results = back(given)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # operations without a batching rule go one by one
            results = torch.vmap(back)(given)
    made = dict(zip(used, results, strict=True))
    return [made.get(i) for i in range(len(leaves))]


def filled(found: Sequence[Tensor | None], leaves: Tensors, changes: Tensors, batched: bool) -> list[Tensor]:
    """Zeros in the place of None."""
    lead = (len(changes[0]),) if batched else ()
    return [
        leaf.new_zeros(*lead, *leaf.shape) if g is None else g.detach() for g, leaf in zip(found, leaves, strict=True)
    ]
