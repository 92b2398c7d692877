"""What goes into and comes out of the layers whose per-row derivatives are known in closed form.

A layer sees x_b and gives z_b for row b; δ_b = (∂y_b/∂z_b)ᵀ u is a pull u on the outputs, brought back to z_b by one
backward pass for all rows. The gradient of the row by the layer's parameters follows from the two alone:

    linear, z = W x + b          ∂/∂W = δ xᵀ,  ∂/∂b = δ
    convolution                  the same with x the patches under the kernel, summed over the places
    normalisation, z = γ x̂ + β   ∂/∂γ = Σ δ x̂,  ∂/∂β = Σ δ over the axes that γ is spread over

Squares of them, summed over the rows, are all that diag G needs (Goodfellow 2015 has the trick for norms, Dangel et al.
2020, BackPACK, for diagonals), and for a linear layer Σ_b (δ_b x_bᵀ)² = (δ²)ᵀ x² without any row's gradient. Assumed is
that a layer is called once, rows first, and that nothing else uses its parameters; all of this is checked.

>>> x, δ = torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([[[1.0], [2.0]]])  # rows (b, i), pulls (s, b, o)
>>> linear(x, δ)["weight"]
tensor([[37.,  8.]])
>>> ((δ[0, :, :, None] * x[:, None]) ** 2).sum(0)  # from the gradients of the rows
tensor([[37.,  8.]])
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calclab.second_order.graph import Subject, filled, pull
from calclab.second_order.kernels import transformed

FEW = 4  # rows on which a closed form is held against autograd
KNOWN = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass
class Seen:
    """One call of a layer: its input and its output, on the graph; ``version`` of the input when it was called."""

    layer: nn.Module
    input: Tensor
    output: Tensor
    version: int

    @property
    def intact(self) -> bool:
        """Whether the input is still what the layer saw: nobody has written over it since."""
        return self.input._version == self.version


@contextmanager
def watched(layers: dict[str, nn.Module]) -> Iterator[dict[str, list[Seen]]]:
    """Calls of the layers within the block, by name. What follows gets copies of the outputs, so that what writes
    over its input leaves the record alone."""
    calls: dict[str, list[Seen]] = {name: [] for name in layers}

    def hook(name: str) -> Any:
        def note(layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            tensors = isinstance(output, Tensor) and len(args) == 1 and isinstance(args[0], Tensor)
            if not tensors or transformed():
                calls[name].append(Seen(layer, torch.empty(0), torch.empty(0), -1))
                return None
            calls[name].append(Seen(layer, args[0], output, args[0]._version))
            return output.clone()

        return note

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def known_layers(about: Subject) -> dict[str, nn.Module]:
    """Layers whose chosen parameters are treated in closed form: of a known kind, called once, rows first, and alone in
    the use of their parameters, which is held against autograd on a few rows."""
    module = about.network.module
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    candidates = {
        name: layer
        for name, layer in module.named_modules()
        if type(layer) in KNOWN
        and plain(layer)
        and all(len(names[id(p)]) == 1 for p in layer.parameters())
        and any(f"{name}.{own}".lstrip(".") in about.names for own, _ in layer.named_parameters(recurse=False))
    }
    first = {name: layer for name, layer in candidates.items() if name in rows_first(about, candidates)}
    return {name: layer for name, layer in first.items() if name in agreeing(about, first)} if first else {}


def rows_first(about: Subject, layers: dict[str, nn.Module]) -> set[str]:
    """Layers that are called once, and whose first axis is the rows: seen with one row and with two."""
    found = set(layers)
    for count in {min(count, len(about.data.inputs)) for count in (1, 2)}:
        with torch.no_grad(), watched(layers) as calls:
            about.outputs([about.parameters[name] for name in about.names], slice(0, count))
        for name, seen in calls.items():
            good = len(seen) == 1 and seen[0].intact and seen[0].input.ndim > 1
            if not (good and len(seen[0].input) == len(seen[0].output) == count):
                found.discard(name)
    return found


def agreeing(about: Subject, layers: dict[str, nn.Module]) -> set[str]:
    """Layers for which the closed form gives autograd's squared gradient of each of a few rows."""
    few, found = about.some(FEW), set(layers)
    for row in range(len(few.data.inputs)):
        found &= agreeing_on(few, layers, slice(row, row + 1))
    return found


def agreeing_on(about: Subject, layers: dict[str, nn.Module], row: slice) -> set[str]:
    """Those of the layers whose closed form gives autograd's squared gradient of one row, to 1e-3 of the largest entry.

    The pull is random, so that a layer which reaches the outputs in a second, hidden way is noticed.
    """
    with torch.enable_grad(), watched(layers) as calls:
        leaves = about.leaves()
        y = about.outputs(leaves, row)
    calls = {name: seen for name, seen in calls.items() if seen[0].output.requires_grad}  # not under no_grad
    column = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y)
    true = dict(zip(about.names, filled(pull([y], leaves, [column]), leaves, leaves, batched=False), strict=True))
    outputs = [seen[0].output for seen in calls.values()]
    pulls = filled(pull([y], outputs, [column]), outputs, outputs, batched=False)
    found = set()
    for (name, seen), δ in zip(calls.items(), pulls, strict=True):
        gaps = [
            (squares - true[full].square()).abs().max() <= 1e-3 * true[full].square().max()
            for own, squares in row_gradients(seen[0], δ[None]).items()
            if (full := f"{name}.{own}".lstrip(".")) in true
        ]
        if all(bool(gap) for gap in gaps):
            found.add(name)
    return found


def plain(layer: nn.Module) -> bool:
    """Whether the layer has no options that the closed form leaves out, and no hooks that change what it does.

    Left out are statistics of the batch (training mode), padding that mirrors or repeats, and padding by name.
    """
    if layer._forward_hooks or layer._forward_pre_hooks or layer.training:
        return False
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return True


def row_gradients(seen: Seen, δ: Tensor) -> dict[str, Tensor]:
    """For pulls δ (s, b, ...) on the output of a layer: of each parameter, the gradients of the rows, squared and
    summed over s and b, in the parameter's shape."""
    layer, x = seen.layer, seen.input.detach()
    if isinstance(layer, nn.Linear):
        return linear(x, δ)
    if isinstance(layer, nn.Conv2d):
        return convolution(layer, x, δ)
    return normalisation(layer, x, δ)


def linear(x: Tensor, δ: Tensor) -> dict[str, Tensor]:
    """y = W x + b: a row's gradient is δ xᵀ; with further axes t, Σ_t δ_t x_tᵀ."""
    if x.ndim == 2:
        squares = δ.square().sum(dim=0)
        return {"weight": squares.T @ x.square(), "bias": squares.sum(dim=0)}
    x, δ = x.flatten(1, -2), δ.flatten(2, -2)
    return {"weight": squared_products(δ.mT, x), "bias": δ.sum(dim=2).square().sum(dim=(0, 1))}


def convolution(layer: nn.Conv2d, x: Tensor, δ: Tensor) -> dict[str, Tensor]:
    """The same with x the patches (b, i k k, t) under the kernel, group by group; t counts the places of the kernel."""
    padding: Any = layer.padding
    patches = nn.functional.unfold(x, layer.kernel_size, layer.dilation, padding, layer.stride)
    d = δ.flatten(3)
    parts = zip(d.chunk(layer.groups, dim=2), patches.chunk(layer.groups, dim=1), strict=True)
    weight = torch.cat([squared_products(one, other.mT) for one, other in parts])
    return {"weight": weight.reshape(layer.weight.shape), "bias": d.sum(dim=3).square().sum(dim=(0, 1))}


PRODUCTS = 2**23  # numbers of the rows' gradients that are held at once


def squared_products(left: Tensor, right: Tensor) -> Tensor:
    """Σ_s Σ_b (L_sb R_b)² for L (s, b, o, t), R (b, t, i): (o, i), some rows at a time."""
    columns, count, o, t = left.shape
    i = right.shape[2]
    size = max(1, PRODUCTS // (columns * o * i))
    total = left.new_zeros(columns * o, i)
    for first in range(0, count, size):
        some = left[:, first : first + size].transpose(0, 1).reshape(-1, columns * o, t)
        total += torch.bmm(some, right[first : first + size]).square_().sum(dim=0)
    return total.reshape(columns, o, i).sum(dim=0)


def normalisation(layer: nn.Module, x: Tensor, δ: Tensor) -> dict[str, Tensor]:
    """y = γ x̂ + β entry by entry: a row's gradients are Σ δ x̂ and Σ δ over the axes that γ is spread over.

    x̂ is computed again without γ and β. LayerNorm spreads γ over the axes before the normalised ones, GroupNorm and
    BatchNorm (in eval mode, with the running statistics) over the places of a channel.
    """
    F = nn.functional
    if isinstance(layer, nn.LayerNorm):
        normal = F.layer_norm(x, layer.normalized_shape, None, None, layer.eps)
        axes = tuple(range(1, x.ndim - len(layer.normalized_shape)))
    else:
        if isinstance(layer, nn.GroupNorm):
            normal = F.group_norm(x, layer.num_groups, None, None, layer.eps)
        else:
            assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
            normal = F.batch_norm(x, layer.running_mean, layer.running_var, None, None, False, 0.0, layer.eps)
        axes = tuple(range(2, x.ndim))
    weight, bias = δ * normal, δ
    if axes:
        further = tuple(axis + 1 for axis in axes)
        weight, bias = weight.sum(dim=further), bias.sum(dim=further)
    return {"weight": weight.square().sum(dim=(0, 1)), "bias": bias.square().sum(dim=(0, 1))}
