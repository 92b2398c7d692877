"""One forward pass of the rows, recorded by autograd, and what it says of the network.

The graph knows what was computed, in modules or out of them: that a ReLU was called as a function, that two branches
are added, that nothing but kinks bends the network. Only nodes that the input reaches count. A composition of
operations that are affine in what comes from the input, and of kinks, is piecewise linear; a product of two such
branches, or any other operation, bends.

Names are those of torch's backward nodes, without "Backward0"; an operation that is not listed bends, so that what is
not known costs time and no correctness.

>>> x = torch.randn(2, 3, requires_grad=True)
>>> y = torch.relu(x @ torch.randn(3, 4)) + 1
>>> nodes = nodes_of(y, x)
>>> [node.name for node in nodes], bends(nodes), kinks(nodes)
(['Mm', 'Relu', 'Add'], [], 1)
>>> bends(nodes_of(x * x, x)), bends(nodes_of(3 * x.tanh(), x))  # a product of two that move, and a smooth bend
(['Mul'], ['Tanh'])
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from calclab.attribution.chain import Chain, Node, Pass, chain_of
from calclab.attribution.guard import Kept, first_line
from calclab.attribution.model import Model, Whole
from calclab.errors import UserError

FIRST = 256  # rows of the pass that is recorded
# Chains met before, with the parameters that they were made of: each is tried against the module's outputs before it
# is used again, so that to recognise it anew is all that is saved (0.2 ms, of 0.4 for the gradient of a small network).
# They hang on no module of the user's, which is left as it was found, and go when it goes.
Place = list[tuple[Any, int]]  # parameters and where they lie, modules' types and who they are
CHAINS: WeakKeyDictionary[nn.Module, tuple[Place, Chain]] = WeakKeyDictionary()
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
STANDARD = (nn.Linear, nn.Flatten, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU)


def recognised(module: nn.Module) -> Chain | None:
    """The chain that a module was recognised as, where it can do nothing but what it did then: torch's own layers in
    torch's own Sequential, the same ones with the same parameters, without hooks. None of any other.

    No pass of the module's is then needed to try the chain against, and nothing of the module has to be preserved: of
    the gradient of a small network that is half the time.
    """
    if type(module) is not nn.Sequential or (found := CHAINS.get(module)) is None:
        return None
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return None
    here: Place = []
    layers = module._modules.values()
    for layer in layers:
        if type(layer) not in STANDARD or layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
            return None
        here += [(p, p.data_ptr()) for p in layer._parameters.values() if p is not None]
    here.append((nn.Sequential, id(module)))
    here += [(type(layer), id(layer)) for layer in layers]
    return found[1] if same(found[0], here) else None


class Recording:
    """``outputs`` (B, m) of all rows; ``nodes``, what was done on the way; ``engine``, the quickest way to do it again.

    The first rows' pass is recorded with all parameters followed, so that the graph knows them; of a chain met before
    it only has to give the same outputs. ``memory`` is in MB. UserError, in the module's own words, where it does not
    take the rows, and where its outputs are not one row of floating-point numbers for each of theirs.
    """

    def __init__(self, model: Model, kept: Kept, memory: float, chain: Chain | None = None) -> None:
        self.model, self.kept, self.memory = model, kept, memory
        self.owner = torch.arange(len(model.rows), device=model.rows.device) if model.needs_owner else None
        self.first = model.rows if self.whole else model.rows[:FIRST]
        self.passed: Pass | None = None
        if chain is not None:
            self.engine = chain
            self.passed = chain.record(chain.lift(self.first))
            self.outputs = self.passed.outputs if self.whole else self._rest(self.passed.outputs)
            return
        self.place: Place = [(p, p.data_ptr()) for p in kept.parameters]
        self.place += [(type(m), id(m)) for m in kept.modules]
        met = CHAINS.get(model.module) if model.plain else None
        y = None
        if met is not None and same(met[0], self.place):
            with torch.no_grad():
                y = self._tried(self.first)
            if self.agrees(met[1], y):
                self.engine = met[1]
        y = self.recorded[1].detach() if y is None or self.passed is None else y
        self.outputs = y if self.whole else self._rest(y)

    def _tried(self, points: Tensor) -> Tensor:
        """The module's outputs for the first rows; UserError, in its own words, where it does not take them."""
        name = type(self.model.module).__name__
        try:
            y = self.model.outputs(points, None if self.owner is None else self.owner[:FIRST])
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{name} does not take these rows: {first_line(error)}") from error
        if y.shape[0] != points.shape[0]:
            raise UserError(
                f"{name} gives {len(y)} rows of outputs for {len(points)} rows of inputs. The first axis of inputs and "
                "outputs is that of the rows"
            )
        if not y.is_floating_point():
            raise UserError(f"{name} gives {y.dtype}, which has no derivatives. Leave argmax out of it")
        return y

    @cached_property
    def recorded(self) -> tuple[Tensor, Tensor]:
        """The first rows and their outputs, on the graph between them."""
        self.kept.follow(True)
        try:
            with torch.enable_grad():
                leaf = self.first.detach().requires_grad_()
                return leaf, self._tried(leaf)
        finally:
            self.kept.follow(False)

    @property
    def whole(self) -> bool:
        """Whether the first pass held all rows."""
        return self.model.rows.shape[0] <= FIRST

    @cached_property
    def nodes(self) -> list[Node]:
        """The operations between the rows and the outputs, as the recorded graph has them."""
        leaf, y = self.recorded
        return nodes_of(y, leaf)

    @cached_property
    def numbers(self) -> int:
        """What a row takes on its way through autograd, in numbers, about."""
        return 3 * sum(numel(node, len(self.first)) for node in self.nodes) + 2 * self.first.shape[1]

    @cached_property
    def engine(self) -> Chain | Whole:
        """The chain that was recorded, where it gives the same outputs; else the module by autograd."""
        if self.model.plain:
            leaf, y = self.recorded
            chain = chain_of(self.nodes, leaf)
            if chain is not None and self.agrees(chain, y.detach()):
                CHAINS[self.model.module] = (self.place, chain)
                return chain
        return Whole(self.model, self.numbers, tuple(bends(self.nodes)))

    def agrees(self, chain: Chain, y: Tensor) -> bool:
        """Whether a chain gives the outputs that the module gave for the first rows; its pass is kept."""
        if chain.first.weight.shape[1] != self.first.shape[1]:
            return False
        passed = chain.record(chain.lift(self.first))
        found = passed.outputs
        if found.shape != y.shape:
            return False
        slack = 2**8 * torch.finfo(y.dtype).eps
        if not float((found - y).abs_().max()) <= slack * (1 + float(y.abs().max())):
            return False
        self.passed = passed
        return True

    def _rest(self, first: Tensor) -> Tensor:
        """Outputs of all rows, the others in lots that keep the memory."""
        rows, parts = self.model.rows, [first]
        chain = self.engine if isinstance(self.engine, Chain) else None
        numbers = self.numbers if self.passed is None else self.engine.numbers
        size = max(1, int(self.memory * 2**20 / (numbers * rows.element_size())))
        with torch.no_grad():
            for low in range(FIRST, len(rows), size):
                part = slice(low, low + size)
                if chain is not None:
                    parts.append(chain.outputs(chain.lift(rows[part]), part))
                    continue
                parts += [self.model.outputs(rows[part], None if self.owner is None else self.owner[part])]
        return torch.cat(parts)


def same(before: Place, now: Place) -> bool:
    """Whether these are the same parameters, at the same place in memory, and the same modules."""
    return len(before) == len(now) and all(a is b and i == j for (a, i), (b, j) in zip(before, now, strict=True))


def numel(node: Node, rows: int) -> int:
    """Numbers a row that an operation gives, of which autograd may keep about three each; views are none."""
    found = getattr(node.recorded, "_input_metadata", None)
    return 0 if not found or node.name in ("View", "T", "Alias") else math.prod(found[0].shape) // rows + 1


# --- what was recorded ---


def nodes_of(output: Tensor, leaf: Tensor) -> list[Node]:
    """The operations between the leaf and the output, those first that were done first: the graph is walked from the
    output, each node after those that it was made of. A node counts where some argument of it comes from the leaf."""
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
    """Whether an operation is piecewise linear in what comes from the input: affine (``ADDS``), a kink, a product of
    which at most one factor moves, a division by a constant, or batch normalisation by statistics that are kept."""
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
