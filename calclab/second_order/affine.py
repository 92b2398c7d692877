"""Is the diagonal of the Hessian that of the Gauss-Newton matrix? Read from the graph, not guessed from the layers.

H = G + Σ_i ∂ℓ/∂y_i ∇²y_i. Where every output is piecewise affine in each single parameter tensor, the others held, the
diagonals of ∇²y_i vanish, and so do their blocks of one tensor. A product of two factors is so if no parameter stands
behind both: a tied weight, or a layer called twice, spoils it.

So a ReLU network has diag H = diag G exactly, and the cheap diagonal of G is that of its Hessian; one with tanh has
not. The answer is read from autograd's nodes, each of which must be known: an operation that is not in the lists below,
or a function of the user's own, makes it False, which costs time and never truth. It takes one forward pass of two
rows.

>>> w = torch.ones(3, requires_grad=True)
>>> piecewise((w * 2).relu().sum().grad_fn), piecewise((w * w).sum().grad_fn), piecewise(w.tanh().sum().grad_fn)
(True, False, False)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from calclab.second_order.graph import subject
from calclab.second_order.subset import choose
from calclab.subject.network import Network

# autograd's nodes, without "Backward" and the number; affine or piecewise affine in all their inputs together
NAMES = (
    "AccumulateGrad Add Sub Neg Sum Mean Relu LeakyRelu Threshold Hardtanh Abs Clamp ClampMin ClampMax Maximum Minimum "
    "Max Min Amax Amin Where MaxPool2DWithIndices MaxPool3DWithIndices AvgPool2D AvgPool3D AdaptiveAvgPool2D "
    "MkldnnAdaptiveAvgPool2D MkldnnMaxPool2D AdaptiveMaxPool2D AdaptiveMaxPool3D AdaptiveAvgPool3D ConstantPadNd "
    "ReflectionPad1D ReflectionPad2D ReplicationPad1D ReplicationPad2D UpsampleNearest1D UpsampleNearest2D "
    "UpsampleBilinear2D UpsampleBicubic2D View UnsafeView ReshapeAlias AsStrided T Transpose Permute Squeeze Unsqueeze "
    "Expand Cat Stack Slice Select Split SplitWithSizes Unbind Index IndexSelect Gather Clone Copy Alias Contiguous "
    "Repeat Roll Flip Embedding ToCopy Movedim PixelShuffle PixelUnshuffle Cumsum Im2Col Col2Im Diagonal"
)
PIECEWISE = set(NAMES.split())
# products: which inputs are factors of each other (the others are added)
PRODUCTS: dict[str, tuple[int, ...]] = {
    "Mm": (0, 1),
    "Bmm": (0, 1),
    "Mv": (0, 1),
    "Dot": (0, 1),
    "Mul": (0, 1),
    "Linear": (0, 1),
    "PreluKernel": (0, 1),
    "Addmm": (1, 2),
    "Addmv": (1, 2),
    "Addbmm": (1, 2),
    "Baddbmm": (1, 2),
    "Convolution": (0, 1),
    "MkldnnConvolution": (0, 1),
    "NativeBatchNorm": (0, 1),
    "CudnnBatchNorm": (0, 1),
    "Div": (0,),
}


def curves_only_through_the_loss(network: Network, *, at: Tensor | None = None) -> bool:
    """Whether diag H = diag G exactly (wherever the loss is differentiable); False where that cannot be read."""
    about = subject(network, network.data, at, choose(network, None))
    with torch.enable_grad():
        y = about.outputs(about.leaves(), slice(0, 2))
    return y.grad_fn is None or piecewise(y.grad_fn)


def piecewise(root: Any) -> bool:
    """Whether the output of a node is piecewise affine in each leaf alone."""
    behind: dict[Any, frozenset[int]] = {}  # node to the leaves that it depends on
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if node in behind:
            continue
        inputs = [source for source, _ in node.next_functions]
        if not ready:
            stack.append((node, True))
            stack.extend((source, False) for source in inputs if source is not None)
            continue
        leaves = [frozenset[int]() if source is None else behind[source] for source in inputs]
        if not affine(node, leaves):
            return False
        own = {id(node)} if kind_of(node) == "AccumulateGrad" else set()
        behind[node] = frozenset(own.union(*leaves))
    return True


def affine(node: Any, leaves: list[frozenset[int]]) -> bool:
    """Whether a node whose inputs depend on ``leaves`` is piecewise affine in each of these alone, the inputs being so.

    A node of `PIECEWISE` is; one of `PRODUCTS` where no leaf stands behind both factors, and, if it is a
    normalisation, where it does not take the statistics of the batch.
    """
    kind = kind_of(node)
    if kind in PIECEWISE:
        return True
    if kind not in PRODUCTS or getattr(node, "_saved_training", False) or len(leaves) <= max(PRODUCTS[kind]):
        return False
    if kind == "Div":  # of parameters by what depends on none
        return not any(leaves[1:])
    first, second = (leaves[i] for i in PRODUCTS[kind])
    return not first & second


def kind_of(node: Any) -> str:
    """Addmm of AddmmBackward0, AccumulateGrad of torch::autograd::AccumulateGrad; none of a user's own function."""
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        return ""
    name: str = node.name().rpartition("::")[2]
    return name.partition("Backward")[0]
