"""What a module does, step by step, where it is no plain sequence: layers, sums of what they gave, other shapes.

Found by symbolic tracing (Reed et al. 2022, torch.fx), and one pass over two rows for the shapes. A module whose
program branches on its input has none; what is not among the few operations known here is a step of kind "other".
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.numerics.jacobian.layers import Layer

ADDED: dict[Any, float] = {operator.add: 1, operator.iadd: 1, torch.add: 1, "add": 1, "add_": 1}
ADDED |= {operator.sub: -1, operator.isub: -1, torch.sub: -1, "sub": -1, "sub_": -1}
SCALED: dict[Any, int] = {operator.mul: 1, operator.imul: 1, torch.mul: 1, "mul": 1, "mul_": 1}
SCALED |= {operator.truediv: -1, operator.itruediv: -1, torch.div: -1, "div": -1, "div_": -1}
SHAPED = {torch.flatten, torch.reshape, "flatten", "view", "reshape", "contiguous", "clone", "unflatten"}
SHAPED |= {"squeeze", "unsqueeze", torch.squeeze, torch.unsqueeze}
ENTRYWISE: dict[Any, Callable[[], nn.Module]] = {
    **dict.fromkeys((torch.relu, functional.relu, "relu", "relu_"), nn.ReLU),
    **dict.fromkeys((torch.tanh, functional.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((torch.sigmoid, functional.sigmoid, "sigmoid"), nn.Sigmoid),
    **{functional.gelu: nn.GELU, functional.silu: nn.SiLU, functional.elu: nn.ELU},
    **{functional.softplus: nn.Softplus, functional.leaky_relu: nn.LeakyReLU},
}


@dataclass(frozen=True)
class Step(Layer):
    """Step k - 1 makes result k (0 is the input) of the results ``sources``. ``kind``: "layer", "sum" of
    ``factors`` times the sources and of ``shift``, "shape" (the same numbers seen otherwise), or "other", by ``name``.
    """

    kind: str
    sources: tuple[int, ...]
    factors: tuple[float, ...] = ()
    shift: Tensor | float = 0.0


def of_layers(layers: Sequence[Layer]) -> tuple[Step, ...]:
    """A plain sequence as steps."""
    return tuple(
        Step(layer.name, layer.module, layer.before, layer.after, "layer", (k,)) for k, layer in enumerate(layers)
    )


def traced(module: nn.Module, x: Tensor) -> tuple[Step, ...] | None:
    """The steps of ``module`` (in eval mode) for a row x (*shape); None where its program cannot be followed."""
    from torch import fx

    if hooked(module):  # tracing runs the hooks of what is within, not those of the whole
        return None
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            graph = Tracer().trace(module)
            return Follow(module, x.detach().expand(2, *x.shape).clone()).steps(graph)
    except (Exception, fx.proxy.TraceError):  # any program of the user's may raise anything
        return None


def hooked(module: nn.Module) -> bool:
    """Whether hooks may change what the module does; those of ``weight_norm`` only set its weight."""
    before = [hook for hook in module._forward_pre_hooks.values() if type(hook).__name__ != "WeightNorm"]
    return bool(before or module._forward_hooks)


def Tracer() -> Any:  # noqa: N802  a class made when it is needed: torch.fx takes time to import
    from torch import fx

    class Leaves(fx.Tracer):  # type: ignore[misc, unused-ignore]
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return super().is_leaf_module(module, name) or not any(True for _ in module.children())

    return Leaves()


class Follow:
    """Runs a traced graph on two rows, and notes the steps that depend on the input."""

    def __init__(self, module: nn.Module, x: Tensor) -> None:
        self.module, self.x = module, x
        self.values: dict[Any, Any] = {}
        self.places: dict[Any, int] = {}  # of what depends on the input
        self.found: list[Step] = []

    def steps(self, graph: Any) -> tuple[Step, ...] | None:
        for node in graph.nodes:
            if node.op == "placeholder":
                if self.places:
                    return None  # further inputs
                self.values[node], self.places[node] = self.x, 0
            elif node.op == "output":
                result = node.args[0]
                return tuple(self.found) if self.places.get(result, 0) == len(self.found) > 0 else None
            else:
                self.run(node)
        return None

    def run(self, node: Any) -> None:
        if node.op == "get_attr":
            value: Any = self.module
            for part in node.target.split("."):
                value = getattr(value, part)
            self.values[node] = value
            return
        args, more = self.known(node.args), self.known(node.kwargs)
        target: Any = self.module.get_submodule(node.target) if node.op == "call_module" else node.target
        versions = {source: self.values[source]._version for source in self.places}
        value = getattr(args[0], target)(*args[1:], **more) if node.op == "call_method" else target(*args, **more)
        self.values[node] = value
        sources = [source for source in node.all_input_nodes if source in self.places]
        if not sources or not isinstance(value, Tensor):
            return  # a constant, or a shape
        if len(value) != 2:
            raise ValueError("rows do not stay apart")
        self.found.append(self.step(node, target, sources, value))
        self.places[node] = len(self.found)
        for source, version in versions.items():
            if self.values[source]._version != version:  # written over: from now on it is this result
                if self.values[source] is not value:
                    raise ValueError("a part of a result is written over")
                self.places[source] = len(self.found)

    def known(self, value: Any) -> Any:
        """Nodes by their values, in arguments of any nesting."""
        from torch import fx

        return fx.node.map_arg(value, lambda node: self.values[node])

    def step(self, node: Any, target: Any, sources: list[Any], value: Tensor) -> Step:
        places = tuple(self.places[source] for source in sources)
        before, after = tuple(self.values[sources[0]].shape[1:]), tuple(value.shape[1:])
        plain = len(node.args) == 1 and set(node.kwargs) <= {"inplace"}

        def made(kind: str, module: nn.Module | None = None, *factors: float, name: str = node.name) -> Step:
            return Step(name, nn.Identity() if module is None else module, before, after, kind, places, factors)

        def shifted(constant: Any, sign: float, factor: float) -> Step:
            known = self.known((constant,))[0]
            shift = sign * (known.detach() if torch.is_tensor(known) else known)
            return replace(made("sum", None, factor), shift=shift)

        if node.op == "call_module":
            single = len(node.args) == 1 and not node.kwargs and not hooked(target)
            return made("layer" if single else "other", target, name=str(node.target))
        if target in ADDED and len(node.args) == 2 and not node.kwargs:
            if len(sources) == 2 and before == after == tuple(self.values[sources[1]].shape[1:]):
                return made("sum", None, 1.0, ADDED[target])
            if len(sources) == 2 or before != after:
                return made("other", name="a sum of unequal shapes")
            if node.args[0] is node.args[1]:
                return made("sum", None, 1 + ADDED[target])
            first, second = node.args
            return shifted(second, ADDED[target], 1.0) if first is sources[0] else shifted(first, 1.0, ADDED[target])
        if target in SCALED and len(sources) == 1 and len(node.args) == 2 and before == after:
            number = node.args[1] if node.args[0] is sources[0] else node.args[0]
            ahead = SCALED[target] == 1 or node.args[0] is sources[0]
            if isinstance(number, int | float) and ahead:
                return made("sum", None, float(number) ** SCALED[target])
        if target in SHAPED and len(sources) == 1 and value.numel() == self.values[sources[0]].numel():
            return made("shape")
        if target in ENTRYWISE and plain:
            return made("layer", ENTRYWISE[target]().to(value.device))
        named = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        return made("other", name=named)
