"""What autograd recorded of one forward pass, read as a description of the network.

The graph knows what was computed, in modules or out of them: that a ReLU was called as a function, that two branches
are added, that nothing but kinks bends the network. Only nodes that the input reaches count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

ADDS = {  # affine in all their arguments together
    "Add", "Sub", "Rsub", "Neg", "T", "View", "UnsafeView", "Reshape", "ReshapeAlias", "Expand", "Permute",
    "Transpose", "Squeeze", "Unsqueeze", "Select", "Slice", "Split", "SplitWithSizes", "Chunk", "Cat", "Stack",
    "Sum", "Mean", "Clone", "AvgPool2D", "AvgPool3D", "AdaptiveAvgPool2D", "MkldnnAdaptiveAvgPool2D",
    "ConstantPadNd", "ReflectionPad2D", "ReplicationPad2D", "UpsampleNearest2D", "UpsampleBilinear2D", "Index",
    "Gather", "IndexSelect", "Narrow", "ToCopy", "Roll", "Flip", "Repeat", "Unbind", "Alias", "Cumsum", "Unfold",
    "Im2Col", "PixelShuffle", "SumDim", "Swapaxes",
}  # fmt: skip
PRODUCTS = {  # affine while no more than one of these arguments comes from the input
    "Addmm": (1, 2), "Mm": (0, 1), "Bmm": (0, 1), "Mul": (0, 1), "Mv": (0, 1), "Dot": (0, 1), "Baddbmm": (1, 2),
    "Addmv": (1, 2), "Convolution": (0, 1), "MkldnnConvolution": (0, 1), "Linear": (0, 1), "MkldnnLinear": (0, 1),
}  # fmt: skip
KINKS = {
    "Relu", "LeakyRelu", "Hardtanh", "Clamp", "ClampMin", "ClampMax", "Threshold", "Abs", "MaxPool2DWithIndices",
    "Maximum", "Minimum", "PreluKernel",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One recorded operation: ``name`` without Backward0, the recorded node itself, and which arguments come from x."""

    name: str
    recorded: Any
    moving: tuple[bool, ...]


def nodes_of(output: Tensor, leaf: Tensor) -> list[Node]:
    """The operations between the leaf and the output, those first that were done first."""
    depends: dict[Any, bool] = {}
    found: list[Node] = []
    stack = [(output.grad_fn, False)]
    while stack:
        node, seen = stack.pop()
        if node is None or (not seen and node in depends):
            continue
        before = [parent for parent, _ in node.next_functions]
        if not seen:
            depends[node] = False
            stack.append((node, True))
            stack.extend((parent, False) for parent in before if parent is not None and parent not in depends)
            continue
        if (variable := getattr(node, "variable", None)) is not None:
            depends[node] = variable is leaf
            continue
        moving = tuple(parent is not None and depends.get(parent, False) for parent in before)
        depends[node] = any(moving)
        if depends[node]:
            found.append(Node(node.name().partition("Backward")[0], node, moving))
    return found


def bends(nodes: list[Node]) -> list[str]:
    """The operations that are not piecewise linear in the input, by name; empty for a piecewise linear network."""
    return list(dict.fromkeys(node.name for node in nodes if not straight(node)))


def straight(node: Node) -> bool:
    name, moving = node.name, node.moving
    if name in ADDS or name in KINKS:
        return True
    if name in PRODUCTS:
        return sum(moving[k] for k in PRODUCTS[name] if k < len(moving)) <= 1
    if name == "Div":
        return not any(moving[1:])
    if name in ("NativeBatchNorm", "CudnnBatchNorm", "MkldnnBatchNorm"):
        return not getattr(node.recorded, "_saved_training", True) and not any(moving[1:])
    return False


def kinks(nodes: list[Node]) -> int:
    """How many operations have kinks."""
    return sum(node.name in KINKS for node in nodes)
