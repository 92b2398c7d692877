"""What a module does, step by step, where it is no plain sequence: layers, sums of what they gave, other shapes.

    result 0 = x,   result k = layer(result i)  |  Σ_i c_i result i + shift  |  the same numbers in another shape

Found by symbolic tracing (Reed et al. 2022, torch.fx), and one pass over two rows for the shapes. A module whose
program branches on its input has none; what is not among the few operations known here is a step of kind "other". With
the steps of a residual network its Jacobian's structure (``windows.py``) and a bound of its Lipschitz constant are
known, which no hook on its modules could tell.

>>> class Residual(nn.Module):
...     def __init__(self):
...         super().__init__()
...         self.inner = nn.Linear(3, 3)
...
...     def forward(self, x):
...         return x + 2 * torch.relu(self.inner(x))
>>> [(step.kind, step.sources, step.factors) for step in traced(Residual().eval(), torch.zeros(3))]
[('layer', (0,), ()), ('layer', (1,), ()), ('sum', (2,), (2.0,)), ('sum', (0, 3), (1.0, 1))]
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
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
    """A plain sequence as steps: result k of layer k, made of result k - 1.

    >>> [step.sources for step in of_layers([Layer("a", nn.Tanh(), (3,), (3,)), Layer("b", nn.ReLU(), (3,), (3,))])]
    [(0,), (1,)]
    """
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
    """A tracer that takes every module without children as one operation, torch's own or not."""
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
        """The steps of all nodes; None for several inputs, and where the output is not what was done last."""
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
        """Carries one node out and notes its step, where it depends on the input. What is written over in place is from
        then on the new result. ValueError where rows do not stay apart, or only a part of a result is written over."""
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
        """The step of a node: the first reader that knows what it does has it."""
        places = tuple(self.places[source] for source in sources)
        operation = Operation(node, target, sources, places, self.values, value)
        for read in (of_layer, of_sum, of_factor, of_shape, of_activation):
            if (found := read(operation)) is not None:
                return found
        named = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        return operation.made("other", name=named)


@dataclass(frozen=True)
class Operation:
    """A node of a traced program: what is called with what (``values`` of its nodes), which results of former steps
    (``sources``, at ``places``) it takes, and its ``result`` for two rows."""

    node: Any
    target: Any
    sources: list[Any]
    places: tuple[int, ...]
    values: Mapping[Any, Any]
    result: Tensor

    @property
    def before(self) -> tuple[int, ...]:
        """The shape of a row of the first source."""
        return tuple(self.values[self.sources[0]].shape[1:])

    @property
    def after(self) -> tuple[int, ...]:
        return tuple(self.result.shape[1:])

    def made(
        self,
        kind: str,
        module: nn.Module | None = None,
        *,
        factors: tuple[float, ...] = (),
        shift: Tensor | float = 0.0,
        name: str = "",
    ) -> Step:
        """A step of some kind, from these sources to this result."""
        module = nn.Identity() if module is None else module
        return Step(name or self.node.name, module, self.before, self.after, kind, self.places, factors, shift)


def of_layer(call: Operation) -> Step | None:
    """A module called by itself on one result, without hooks; any other call of a module is a step not understood."""
    if call.node.op != "call_module":
        return None
    single = len(call.node.args) == 1 and not call.node.kwargs and not hooked(call.target)
    return call.made("layer" if single else "other", call.target, name=str(call.node.target))


def of_sum(call: Operation) -> Step | None:
    """a + b or a - b: of two results of one shape, of one with itself, or of one and a constant."""
    if call.target not in ADDED or len(call.node.args) != 2 or call.node.kwargs:
        return None
    sign, (first, second) = ADDED[call.target], call.node.args
    shapes = {tuple(call.values[source].shape[1:]) for source in call.sources}
    if shapes != {call.after}:
        return call.made("other", name="a sum of unequal shapes")
    if len(call.sources) == 2:
        return call.made("sum", factors=(1.0, sign))
    if first is second:
        return call.made("sum", factors=(1 + sign,))
    ahead = first is call.sources[0]
    constant = second if ahead else first
    known = call.values[constant] if isinstance(constant, Hashable) and constant in call.values else constant
    shift = (sign if ahead else 1.0) * (known.detach() if torch.is_tensor(known) else known)
    return call.made("sum", factors=(1.0 if ahead else sign,), shift=shift)


def of_factor(call: Operation) -> Step | None:
    """A result times or over a number."""
    if call.target not in SCALED or len(call.sources) != 1 or len(call.node.args) != 2 or call.before != call.after:
        return None
    ahead = call.node.args[0] is call.sources[0]
    number, power = call.node.args[1 if ahead else 0], SCALED[call.target]
    if not isinstance(number, int | float) or not (ahead or power == 1):
        return None
    return call.made("sum", factors=(float(number) ** power,))


def of_shape(call: Operation) -> Step | None:
    """The same numbers in another shape."""
    if call.target not in SHAPED or len(call.sources) != 1:
        return None
    same = call.result.numel() == call.values[call.sources[0]].numel()
    return call.made("shape") if same else None


def of_activation(call: Operation) -> Step | None:
    """An entrywise function with its defaults."""
    plain = len(call.node.args) == 1 and set(call.node.kwargs) <= {"inplace"}
    if call.target not in ENTRYWISE or not plain:
        return None
    return call.made("layer", ENTRYWISE[call.target]().to(call.result.device))
